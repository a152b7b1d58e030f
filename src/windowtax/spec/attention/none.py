"""No attention: a layer that is a feed-forward part alone, or whose attention was replaced by one matrix.

Nemotron-H's `-` and `E` layers; `no_op` and `replace_with_linear` in the block_configs of Nemotron-NAS (Bercovich et
al. 2024, Puzzle, arXiv 2411.19146).
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS, AttentionKind, Reading
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight


@KINDS.register("none")
@dataclass(frozen=True, kw_only=True)
class NoAttention(AttentionKind):
    """A token sees itself alone. linear: it goes through one square matrix; else the layer has no such part."""

    kind: ClassVar[str] = "none"
    reading: ClassVar[Reading] = Reading.NONE
    linear: bool = False

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        return ()

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return (Weight("linear", (hidden_size, hidden_size)),) if self.linear else ()

    def visible(self, query: int, key: int) -> bool:
        return key == query

    def context_read(self, context_tokens: int) -> int:
        return 0

    def pairs(self, start: int, num_tokens: int) -> int:
        return 0

    def flops(self, start: int, num_tokens: int) -> int:
        return 0

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens

    def shard(self, tensor_parallel: int) -> Self:
        return self
