"""Full attention: every query reads every token before it and itself; the cache grows by one row per token."""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.softmax import SoftmaxAttention, causal_pairs


@KINDS.register("full")
@dataclass(frozen=True, kw_only=True)
class FullAttention(SoftmaxAttention):
    """Causal attention over the whole context (Vaswani et al. 2017, arXiv 1706.03762, section 3.2)."""

    kind: ClassVar[str] = "full"

    @property
    def window(self) -> int | None:
        return None

    @property
    def chunk(self) -> int | None:
        return None

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return context_tokens

    def pairs(self, start: int, num_tokens: int) -> int:
        return causal_pairs(start, num_tokens)

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from == 0 else 0
