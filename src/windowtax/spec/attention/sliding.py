"""Sliding window: a query reads itself and the window - 1 tokens before it; older tokens are given back.

Jiang et al. 2023 (Mistral 7B), arXiv 2310.06825, section 2. The window counts the query's own token, as transformers
masks it; through stacked layers information still travels further than one window.
"""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.softmax import SoftmaxAttention, causal_pairs


@KINDS.register("sliding")
@dataclass(frozen=True, kw_only=True)
class SlidingAttention(SoftmaxAttention):
    """Causal attention over the last `window_tokens` tokens."""

    kind: ClassVar[str] = "sliding"
    window_tokens: int

    @property
    def window(self) -> int | None:
        return self.window_tokens

    @property
    def chunk(self) -> int | None:
        return None

    def visible(self, query: int, key: int) -> bool:
        return query - self.window_tokens < key <= query

    def context_read(self, context_tokens: int) -> int:
        return min(context_tokens, self.window_tokens)

    def pairs(self, start: int, num_tokens: int) -> int:
        # Queries below the window read all before them; the others read exactly one window.
        ramp = max(0, min(start + num_tokens, self.window_tokens) - start)
        return causal_pairs(start, ramp) + (num_tokens - ramp) * self.window_tokens

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from <= max(0, matched_tokens - self.window_tokens + 1) else 0
