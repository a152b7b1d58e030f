"""Native sparse attention: three branches with keys and values of their own (Yuan et al. 2025, arXiv 2502.11089).

Compressed: one row per `compress_stride` tokens, made of `compress_tokens` tokens each. Selected: all tokens are
kept, and a query reads the `select_blocks` blocks that the compressed scores point at. Window: the last
`window_tokens` tokens. So a token costs more than in full attention; what is read is a small part of it.
"""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS, Reading
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Growth
from windowtax.spec.weights import Weight


@KINDS.register("nsa")
@dataclass(frozen=True, kw_only=True)
class NativeSparseAttention(SoftmaxAttention):
    """The defaults are those of the paper's 27B model (section 4.1)."""

    kind: ClassVar[str] = "nsa"
    reading: ClassVar[Reading] = Reading.SELECTION
    compress_tokens: int = 32
    compress_stride: int = 16
    select_block_tokens: int = 64
    select_blocks: int = 16
    window_tokens: int = 512

    @property
    def window(self) -> int | None:
        return None

    @property
    def chunk(self) -> int | None:
        return None

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        k = dtype.vector_planes("compressed_k", self.num_kv_heads, self.head_dim, Growth.PER_BLOCK)
        v = dtype.values.vector_planes("compressed_v", self.num_kv_heads, self.v_head_dim, Growth.PER_BLOCK)
        rows = self.kv_planes(dtype)
        return (
            LayerCache(k + v, stride=self.compress_stride, skip_first=self._skip),
            LayerCache(rows, reads=self._selected),
            LayerCache(rows, window=self.window_tokens),
        )

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """The compression is counted as one matrix from a block to a row; the paper says an MLP and not how wide."""
        own = super().weights(hidden_size)
        again = tuple(w.under(branch) for w in own if w.name in ("k", "v") for branch in ("selected", "window"))
        widths = {"k": self.head_dim, "v": self.v_head_dim}
        packed = tuple(Weight(f"compress_{x}", (dim, self.compress_tokens * dim)) for x, dim in widths.items())
        return (*own, *again, *packed, Weight("branch_gate", (3 * self.num_query_heads, hidden_size)))

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return self.pairs(context_tokens - 1, 1)

    def pairs(self, start: int, num_tokens: int) -> int:
        packed = read_pairs(start, num_tokens, stride=self.compress_stride, skip=self._skip)
        near = read_pairs(start, num_tokens, cap=self.window_tokens)
        return packed + near + read_pairs(start, num_tokens, cap=self._selected)

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from == 0 else 0

    @property
    def _skip(self) -> int:
        return self.compress_tokens - self.compress_stride

    @property
    def _selected(self) -> int:
        return self.select_blocks * self.select_block_tokens
