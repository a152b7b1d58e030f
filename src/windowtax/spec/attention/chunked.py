"""Chunked attention: the context is cut into chunks, and a query reads its own chunk up to itself (Llama 4, iRoPE).

The cache fills up to one chunk and drops back at each chunk border.
"""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.softmax import SoftmaxAttention, causal_pairs


@KINDS.register("chunked")
@dataclass(frozen=True, kw_only=True)
class ChunkedAttention(SoftmaxAttention):
    """Causal attention inside chunks of `chunk_tokens` tokens."""

    kind: ClassVar[str] = "chunked"
    chunk_tokens: int

    @property
    def window(self) -> int | None:
        return None

    @property
    def chunk(self) -> int | None:
        return self.chunk_tokens

    def visible(self, query: int, key: int) -> bool:
        return key <= query and key // self.chunk_tokens == query // self.chunk_tokens

    def context_read(self, context_tokens: int) -> int:
        return context_tokens - self.chunk_tokens * ((context_tokens - 1) // self.chunk_tokens)

    def pairs(self, start: int, num_tokens: int) -> int:
        return self._pairs_before(start + num_tokens) - self._pairs_before(start)

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from <= matched_tokens - matched_tokens % self.chunk_tokens else 0

    def _pairs_before(self, end: int) -> int:
        chunks, rest = divmod(end, self.chunk_tokens)
        return chunks * causal_pairs(0, self.chunk_tokens) + causal_pairs(0, rest)
