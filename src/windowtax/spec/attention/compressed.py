"""DeepSeek-V4's attention: a window of rows, and rows that each stand for several tokens (report, sections 2.3.1,
2.3.2).

CSA keeps a row per 4 tokens and reads the `top_k` that an indexer chooses; HCA keeps a row per 128 tokens and reads
all; a layer of ratio 0 has the window alone. One row of head_dim numbers is key and value at once: the output is
turned back, so that one vector serves as both. Compressors of CSA look at two windows of tokens, which doubles their
projections.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.spec.attention.base import KINDS, AttentionKind, Reading
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.softmax import split
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Growth, Plane
from windowtax.spec.rope.base import Rope
from windowtax.spec.weights import Weight


@KINDS.register("compressed")
@dataclass(frozen=True, kw_only=True)
class CompressedAttention(AttentionKind):
    """One layer. stride: tokens per compressed row, 0 for none. overlap: the compressor sees two windows. top_k: rows
    that a query reads, with the indexer that chooses them; None: all."""

    kind: ClassVar[str] = "compressed"
    reading: ClassVar[Reading] = Reading.SELECTION
    num_query_heads: int
    head_dim: int
    rope_dim: int
    rope: Rope
    q_lora_rank: int
    output_groups: int
    o_lora_rank: int
    window_tokens: int
    stride: int
    overlap: bool = False
    indexer: Indexer | None = None
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.stride > self.window_tokens:
            raise BadInput(f"Rows for {self.stride} tokens leave gaps behind a window of {self.window_tokens} tokens.")

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        align = dtype.shared.page_align_bytes if dtype.shared else 1
        rows = dtype.shared_planes(self.head_dim, self.rope_dim, Growth.PER_TOKEN)
        found = [LayerCache(rows, window=self.window_tokens, page_align_bytes=align)]
        if self.stride:
            packed = dtype.shared_planes(self.head_dim, self.rope_dim, Growth.PER_BLOCK)
            found.append(LayerCache(packed, stride=self.stride, reads=self.top_k, page_align_bytes=align))
        if self.indexer:
            found.append(replace(self.indexer.cache(dtype, self.stride), page_align_bytes=align))
        if self.stride:
            found.append(LayerCache(self._pending(), workspace=True))
        return tuple(found)

    def _pending(self) -> tuple[Plane, ...]:
        """Tokens that wait to be compressed, projected to values and gates, in fp32 (vLLM's compressor.py)."""
        copies = 2 if self.overlap else 1
        widths = {"kv": self.head_dim, **({"index": self.indexer.head_dim} if self.indexer else {})}
        return tuple(
            Plane(f"pending_{name}", (copies * self.stride, 2, copies * width), "fp32", 32, Growth.PER_SEQUENCE)
            for name, width in widths.items()
        )

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        inner, latent = self.num_query_heads * self.head_dim, self.output_groups * self.o_lora_rank
        found = [
            Weight("sink_logits", (self.num_query_heads,)),
            Weight("q_a", (self.q_lora_rank, hidden_size)),
            Weight("q_a_norm", (self.q_lora_rank,)),
            Weight("q_b", (inner, self.q_lora_rank)),
            Weight("kv", (self.head_dim, hidden_size)),
            Weight("kv_norm", (self.head_dim,)),
            Weight("o_a", (latent, inner // self.output_groups)),
            Weight("o_b", (hidden_size, latent)),
        ]
        if self.stride:
            found += self._compressor("compressor", self.head_dim, hidden_size)
        if self.indexer:
            found += self._compressor("index_compressor", self.indexer.head_dim, hidden_size)
            found += self.indexer.query_weights(hidden_size)
        return tuple(found)

    def _compressor(self, name: str, width: int, hidden_size: int) -> list[Weight]:
        channels = 2 * width if self.overlap else width
        return [
            Weight(f"{name}.position_bias", (self.stride * channels,)),
            Weight(f"{name}.kv", (channels, hidden_size)),
            Weight(f"{name}.gate", (channels, hidden_size)),
            Weight(f"{name}.norm", (width,)),
        ]

    def visible(self, query: int, key: int) -> bool:
        return key <= query and (self.stride > 0 or key > query - self.window_tokens)

    def context_read(self, context_tokens: int) -> int:
        return self.pairs(context_tokens - 1, 1)

    def pairs(self, start: int, num_tokens: int) -> int:
        near = read_pairs(start, num_tokens, cap=self.window_tokens)
        return near + (read_pairs(start, num_tokens, stride=self.stride, cap=self.top_k) if self.stride else 0)

    def flops(self, start: int, num_tokens: int) -> int:
        attend = 4 * self.pairs(start, num_tokens) * self.num_query_heads * self.head_dim
        scan = self.indexer.flops(read_pairs(start, num_tokens, stride=self.stride)) if self.indexer else 0
        return attend + scan

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        oldest = 0 if self.stride else max(0, matched_tokens - self.window_tokens + 1)
        return matched_tokens if kept_from <= oldest else 0

    def shard(self, tensor_parallel: int) -> Self:
        """Rows have one head: every rank keeps a copy of them."""
        return replace(
            self,
            num_query_heads=split(self.num_query_heads, tensor_parallel, "query heads"),
            output_groups=split(self.output_groups, tensor_parallel, "output groups"),
        )
