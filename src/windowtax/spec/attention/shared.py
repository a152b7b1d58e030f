"""Cross-layer sharing: a layer with queries of its own that reads the keys and values of an earlier layer.

Brandon et al. 2024 (cross-layer attention), arXiv 2405.12981; Sun et al. 2024 (YOCO), arXiv 2405.05254; the last
layers of Gemma 3n and Gemma 4. Such a layer keeps nothing, but reads as much as any other.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS, AttentionKind
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight

_NOT_ITS_OWN = ("k", "v", "k_norm", "k_bias", "v_bias")


@KINDS.register("shared")
@dataclass(frozen=True, kw_only=True)
class SharedAttention(AttentionKind):
    """Attention over the cache of another layer. source: what that layer's attention is, with this layer's queries."""

    kind: ClassVar[str] = "shared"
    source: SoftmaxAttention

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        return ()

    def borrowed(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        return self.source.caches(dtype)

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return tuple(weight for weight in self.source.weights(hidden_size) if weight.name not in _NOT_ITS_OWN)

    def visible(self, query: int, key: int) -> bool:
        return self.source.visible(query, key)

    def context_read(self, context_tokens: int) -> int:
        return self.source.context_read(context_tokens)

    def pairs(self, start: int, num_tokens: int) -> int:
        return self.source.pairs(start, num_tokens)

    def flops(self, start: int, num_tokens: int) -> int:
        return self.source.flops(start, num_tokens)

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return self.source.reusable_prefix(matched_tokens, kept_from)

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, source=self.source.shard(tensor_parallel))
