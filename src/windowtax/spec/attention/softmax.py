"""What full, sliding and chunked attention share: query, key and value heads, and a softmax over visible keys.

MHA, GQA and MQA are one thing with three head counts: num_kv_heads equal to, below, or 1 against num_query_heads
(Shazeer 2019, arXiv 1911.02150; Ainslie et al. 2023, arXiv 2305.13245).
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from windowtax.base.errors import BadInput
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.planes import Plane
from windowtax.spec.rope.base import Rope
from windowtax.spec.weights import Weight


class QkNorm(StrEnum):
    """Normalisation of queries and keys before RoPE."""

    NONE = "none"
    PER_HEAD = "per head"
    """RMS norm over each head's numbers, one weight vector of head_dim (Qwen3, Gemma 3)."""
    WHOLE = "whole"
    """RMS norm over all heads' numbers at once (OLMo 2, MiniMax)."""
    EACH_HEAD = "each head"
    """Layer norm per head, each head with weights of its own (Command R+)."""
    UNWEIGHTED = "unweighted"
    """RMS norm per head without a weight, applied after RoPE (Llama 4)."""


@dataclass(frozen=True, kw_only=True)
class SoftmaxAttention(AttentionKind):
    """Heads and their dressing.

    rope: None for a layer without positions (NoPE). scale: of the scores, 1 / sqrt(head_dim) unless given.
    softcap: scores become softcap * tanh(score / softcap) (Gemma 2). sink_logits: one learned logit per query head
    joins the softmax and reads nothing (gpt-oss). output_gate: the heads' outputs are multiplied by a gate as wide as
    they are, which the query projection gives too (Qwen3-Next); head_gate: by one number per head (Step-3.5).
    keys_are_values: one projection gives both, which are
    then dressed differently and so both kept (Gemma 4).
    """

    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    v_head_dim: int
    rope: Rope | None
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: QkNorm = QkNorm.NONE
    scale: float | None = None
    softcap: float | None = None
    sink_logits: bool = False
    output_gate: bool = False
    keys_are_values: bool = False
    head_gate: bool = False

    @property
    @abstractmethod
    def window(self) -> int | None:
        """Tokens of the sliding window, the query's own included."""

    @property
    @abstractmethod
    def chunk(self) -> int | None:
        """Tokens of a chunk, where the context is cut into chunks."""

    @property
    def softmax_scale(self) -> float:
        """What the scores are multiplied by."""
        return self.head_dim**-0.5 if self.scale is None else self.scale

    def kv_planes(self, dtype: CacheDtype) -> tuple[Plane, ...]:
        """The planes of one token's keys and values."""
        planes = dtype.key_planes(self.num_kv_heads, self.head_dim)
        return planes + dtype.values.vector_planes("v", self.num_kv_heads, self.v_head_dim)

    def tail(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        """Where the newest keys wait, for a dtype that keeps keys by the block only."""
        planes = dtype.tail_planes(self.num_kv_heads, self.head_dim)
        return (LayerCache(planes, workspace=True),) if planes else ()

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        return (LayerCache(self.kv_planes(dtype), self.window, self.chunk), *self.tail(dtype))

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        q_rows, k_rows = self.num_query_heads * self.head_dim, self.num_kv_heads * self.head_dim
        v_rows, o_columns = self.num_kv_heads * self.v_head_dim, self.num_query_heads * self.v_head_dim
        found = [
            Weight("q", (q_rows, hidden_size)),
            Weight("k", (k_rows, hidden_size)),
            Weight("v", (v_rows, hidden_size)),
            Weight("o", (hidden_size, o_columns)),
        ]
        if self.keys_are_values:
            del found[2]
        if self.output_gate:
            found.append(Weight("gate", (o_columns, hidden_size)))
        if self.head_gate:
            found.append(Weight("head_gate", (self.num_query_heads, hidden_size)))
        if self.qkv_bias:
            found += [Weight("q_bias", (q_rows,)), Weight("k_bias", (k_rows,)), Weight("v_bias", (v_rows,))]
        if self.output_bias:
            found.append(Weight("o_bias", (hidden_size,)))
        if self.qk_norm is QkNorm.PER_HEAD:
            found += [Weight("q_norm", (self.head_dim,)), Weight("k_norm", (self.head_dim,))]
        if self.qk_norm in (QkNorm.WHOLE, QkNorm.EACH_HEAD):
            found += [Weight("q_norm", (q_rows,)), Weight("k_norm", (k_rows,))]
        if self.sink_logits:
            found.append(Weight("sink_logits", (self.num_query_heads,)))
        return tuple(found)

    def flops(self, start: int, num_tokens: int) -> int:
        return 2 * self.pairs(start, num_tokens) * self.num_query_heads * (self.head_dim + self.v_head_dim)

    def shard(self, tensor_parallel: int) -> Self:
        queries, keys = self.num_query_heads, self.num_kv_heads
        if queries % tensor_parallel or (keys % tensor_parallel and tensor_parallel % keys):
            raise BadInput(
                f"{queries} query heads and {keys} KV heads cannot be split over {tensor_parallel} ranks.",
                f"Take a tensor-parallel size that divides {queries} and divides, or is a multiple of, {keys}.",
            )
        # More ranks than KV heads: each rank keeps one head, copied.
        return replace(self, num_query_heads=queries // tensor_parallel, num_kv_heads=max(1, keys // tensor_parallel))


def split(count: int, ranks: int, what: str) -> int:
    """The share of one rank. Raises BadInput where it does not divide."""
    if count % ranks:
        raise BadInput(
            f"{count} {what} cannot be split over {ranks} ranks.", f"Take a tensor-parallel size that divides {count}."
        )
    return count // ranks


def causal_pairs(start: int, num_tokens: int) -> int:
    """Pairs of a causal mask without any window: the sum of p + 1 over the queries."""
    end = start + num_tokens
    return (end * (end + 1) - start * (start + 1)) // 2
