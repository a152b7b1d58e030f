"""DeepSeek sparse attention: latent rows, of which each query reads the `top_k` that its indexer chose.

DeepSeek-V3.2 (arXiv 2512.02556); GLM-5. In GLM-5.2 most layers have no indexer and take the choice of an earlier layer.
Everything is kept: bandwidth and FLOPs are saved, never capacity.
"""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS, Reading
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.softmax import causal_pairs
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight


@KINDS.register("dsa")
@dataclass(frozen=True, kw_only=True)
class SparseLatentAttention(LatentAttention):
    """Latent attention over chosen rows. indexer: None for a layer that takes the choice of an earlier one."""

    kind: ClassVar[str] = "dsa"
    reading: ClassVar[Reading] = Reading.SELECTION
    top_k: int
    indexer: Indexer | None

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        rows = LayerCache(dtype.latent_planes(self.kv_lora_rank, self.qk_rope_head_dim), reads=self.top_k)
        return (rows,) if self.indexer is None else (rows, self.indexer.cache(dtype))

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return super().weights(hidden_size) + (self.indexer.weights(hidden_size) if self.indexer else ())

    def context_read(self, context_tokens: int) -> int:
        return min(context_tokens, self.top_k)

    def pairs(self, start: int, num_tokens: int) -> int:
        return read_pairs(start, num_tokens, cap=self.top_k)

    def flops(self, start: int, num_tokens: int) -> int:
        scan = self.indexer.flops(causal_pairs(start, num_tokens)) if self.indexer else 0
        return super().flops(start, num_tokens) + scan
