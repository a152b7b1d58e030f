"""Block-sparse attention with an index: everything is kept, and each query reads the blocks that small index keys of
their own point at (MiniMax-M3, 2026; transformers, modeling_minimax_m3_vl.py).

An index key of `index_dim` numbers is kept for every token beside keys and values, and read whole; a block's score is
the best of its tokens', and the query's own block is always among the chosen.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS, Reading
from windowtax.spec.attention.softmax import SoftmaxAttention, causal_pairs
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Growth
from windowtax.spec.weights import Weight


@KINDS.register("block_index")
@dataclass(frozen=True, kw_only=True)
class BlockIndexAttention(SoftmaxAttention):
    """Causal attention over `top_k_blocks` blocks of `block_tokens` tokens; one choice per index head."""

    kind: ClassVar[str] = "block_index"
    reading: ClassVar[Reading] = Reading.SELECTION
    block_tokens: int
    top_k_blocks: int
    index_heads: int
    index_dim: int

    @property
    def window(self) -> int | None:
        return None

    @property
    def chunk(self) -> int | None:
        return None

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        rows = LayerCache(self.kv_planes(dtype), reads=self._selected)
        return (rows, LayerCache(dtype.index_planes(self.index_dim, Growth.PER_TOKEN)))

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return (
            *super().weights(hidden_size),
            Weight("index_q", (self.index_heads * self.index_dim, hidden_size)),
            Weight("index_k", (self.index_dim, hidden_size)),
            Weight("index_q_norm", (self.index_dim,)),
            Weight("index_k_norm", (self.index_dim,)),
        )

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return min(context_tokens, self._selected)

    def pairs(self, start: int, num_tokens: int) -> int:
        return read_pairs(start, num_tokens, cap=self._selected)

    def flops(self, start: int, num_tokens: int) -> int:
        scan = 2 * causal_pairs(start, num_tokens) * self.index_heads * self.index_dim
        return super().flops(start, num_tokens) + scan

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from == 0 else 0

    def shard(self, tensor_parallel: int) -> Self:
        """Index heads go with the KV heads that they choose for; the index key has one head, and every rank a copy."""
        heads = max(1, self.index_heads // tensor_parallel)
        return replace(super().shard(tensor_parallel), index_heads=heads)

    @property
    def _selected(self) -> int:
        return self.block_tokens * self.top_k_blocks
