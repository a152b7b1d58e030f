"""The lightning indexer of DeepSeek sparse attention: small keys of its own, by which a query chooses what it reads.

DeepSeek-V3.2 (arXiv 2512.02556, section 2.1). The keys are kept for every token and read whole in every step; the
number of index heads and of chosen tokens changes FLOPs and traffic, never capacity.
"""

from dataclasses import dataclass

from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Growth
from windowtax.spec.weights import Weight


@dataclass(frozen=True, kw_only=True)
class Indexer:
    """num_heads queries of head_dim numbers against one key per row; query_rank: the width that queries come from."""

    num_heads: int
    head_dim: int
    query_rank: int

    def cache(self, dtype: CacheDtype, stride: int = 1) -> LayerCache:
        """Its keys, one per `stride` tokens."""
        grows = Growth.PER_TOKEN if stride == 1 else Growth.PER_BLOCK
        return LayerCache(dtype.index_planes(self.head_dim, grows), stride=stride)

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Its parameter tensors where keys are one projection with a layer norm (V3.2)."""
        return (
            *self.query_weights(hidden_size),
            Weight("index_k", (self.head_dim, hidden_size)),
            Weight("index_k_norm", (self.head_dim,)),
            Weight("index_k_norm_bias", (self.head_dim,)),
        )

    def query_weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Of its queries and of the weights that add up its heads."""
        return (
            Weight("index_q", (self.num_heads * self.head_dim, self.query_rank)),
            Weight("index_heads", (self.num_heads, hidden_size)),
        )

    def flops(self, pairs: int) -> int:
        """Of the scores of so many (query, key) pairs, and of their sum over heads."""
        return 2 * pairs * self.num_heads * (self.head_dim + 1)
