"""Segment recurrence (Transformer-XL; Dai et al. 2019, arXiv 1901.02860, section 3.2).

The context is cut into segments; a query reads its own segment up to itself and the `memory_tokens` tokens before the
segment. What is kept are hidden states, not keys and values: each step projects the memory anew, and adds scores by
relative position (section 3.3).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS, AttentionKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight


@KINDS.register("segment")
@dataclass(frozen=True, kw_only=True)
class SegmentAttention(AttentionKind):
    """Causal attention inside segments, with memory. hidden_size: of the states that are kept, one per token."""

    kind: ClassVar[str] = "segment"
    hidden_size: int
    num_heads: int
    head_dim: int
    segment_tokens: int
    memory_tokens: int

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        planes = dtype.vector_planes("hidden", 1, self.hidden_size)
        return (LayerCache(planes, chunk=self.segment_tokens, memory=self.memory_tokens),)

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        rows = self.num_heads * self.head_dim
        return (
            *(Weight(name, (rows, hidden_size)) for name in ("q", "k", "v", "position")),
            Weight("o", (hidden_size, rows)),
            Weight("content_bias", (rows,)),
            Weight("position_bias", (rows,)),
        )

    def visible(self, query: int, key: int) -> bool:
        return query - query % self.segment_tokens - self.memory_tokens <= key <= query

    def context_read(self, context_tokens: int) -> int:
        last = context_tokens - 1
        return context_tokens - max(0, last - last % self.segment_tokens - self.memory_tokens)

    def pairs(self, start: int, num_tokens: int) -> int:
        return self._pairs_before(start + num_tokens) - self._pairs_before(start)

    def flops(self, start: int, num_tokens: int) -> int:
        rows = self.num_heads * self.head_dim
        scores = 6 * self.pairs(start, num_tokens) * rows
        # Keys and values of what is remembered are projected again in every step.
        remembered = self.context_read(start + 1) - 1
        return scores + 4 * remembered * self.hidden_size * rows

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        oldest = max(0, matched_tokens - matched_tokens % self.segment_tokens - self.memory_tokens)
        return matched_tokens if kept_from <= oldest else 0

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, num_heads=split(self.num_heads, tensor_parallel, "heads"))

    def _pairs_before(self, end: int) -> int:
        """Pairs of the queries before `end`: inside their segments, and with the memory before them."""
        segments, rest = divmod(end, self.segment_tokens)
        inside = segments * read_pairs(0, self.segment_tokens) + read_pairs(0, rest)
        # The memory of segment i is min(i * segment, memory) tokens long, for each of its queries.
        size = self.segment_tokens
        full = min(segments, -(-self.memory_tokens // size))
        lengths = size * full * (full - 1) // 2 + (segments - full) * self.memory_tokens
        return inside + size * lengths + rest * min(segments * size, self.memory_tokens)
