"""Reading the best blocks only: everything is kept, each query reads the `top_k_blocks` blocks that promise most.

Quest (Tang et al. 2024, arXiv 2406.10774) scores a block by the channel-wise minimum and maximum of its keys, which are
kept beside them; MoBA (Lu et al. 2025, arXiv 2502.13189) by their mean. Memory is unchanged or larger; traffic is
smaller.
"""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from windowtax.base.errors import BadInput
from windowtax.spec.attention.base import KINDS, Reading
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES, CacheDtype
from windowtax.spec.planes import Growth

MIN_MAX, MEAN = ("min", "max"), ("mean",)


@KINDS.register("block_topk")
@dataclass(frozen=True, kw_only=True)
class BlockTopKAttention(SoftmaxAttention):
    """Causal attention over chosen blocks of `block_tokens` tokens, the query's own block among them.

    summary: the vectors per block and KV head that are kept in bf16 to choose by: (min, max) in Quest, (mean) in MoBA.
    """

    kind: ClassVar[str] = "block_topk"
    reading: ClassVar[Reading] = Reading.SELECTION
    block_tokens: int
    top_k_blocks: int
    summary: tuple[str, ...] = MIN_MAX

    @property
    def window(self) -> int | None:
        return None

    @property
    def chunk(self) -> int | None:
        return None

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        summaries = tuple(
            plane
            for name in self.summary
            for plane in CACHE_DTYPES["bf16"].vector_planes(
                f"block_{name}", self.num_kv_heads, self.head_dim, Growth.PER_BLOCK
            )
        )
        if self.block_tokens % dtype.span:
            raise BadInput(
                f"{dtype.name} keeps keys by {dtype.span} tokens; blocks of {self.block_tokens} cannot be summed up.",
                f"Write block:{dtype.span} in the lever, or take another cache dtype.",
            )
        rows = LayerCache(self.kv_planes(dtype), reads=self._selected)
        return (rows, LayerCache(summaries, stride=self.block_tokens, rounds_up=True), *self.tail(dtype))

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return min(context_tokens, self._selected)

    def summary_numbers(self, context_tokens: int) -> int:
        """Numbers of all summaries that a token behind so many chooses by; 0 where it reads all blocks."""
        if context_tokens <= self._selected:
            return 0
        blocks = ceil(context_tokens / self.block_tokens)
        return blocks * len(self.summary) * self.num_kv_heads * self.head_dim

    def pairs(self, start: int, num_tokens: int) -> int:
        return read_pairs(start, num_tokens, cap=self._selected)

    def flops(self, start: int, num_tokens: int) -> int:
        # Scores of summaries: one product of head_dim numbers per query head, block and summary vector.
        blocks = read_pairs(start + self.block_tokens - 1, num_tokens, stride=self.block_tokens)
        return super().flops(start, num_tokens) + 2 * blocks * len(self.summary) * self.num_query_heads * self.head_dim

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from == 0 else 0

    @property
    def _selected(self) -> int:
        return self.block_tokens * self.top_k_blocks
