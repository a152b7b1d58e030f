"""Multi-head latent attention: one compressed row per token serves all heads (DeepSeek-V2, arXiv 2405.04434, section
2.1).

A row is kv_lora_rank numbers from which keys and values are made, and one RoPE key of qk_rope_head_dim numbers: no
factor 2, no head count. A step either expands rows to keys and values of every head, or absorbs the expansion into
queries and output and works on the rows themselves; FLOPs are those of the cheaper way.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS, AttentionKind
from windowtax.spec.attention.softmax import causal_pairs, split
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.rope.base import Rope
from windowtax.spec.weights import Weight


@KINDS.register("mla")
@dataclass(frozen=True, kw_only=True)
class LatentAttention(AttentionKind):
    """Causal attention over latent rows.

    q_lora_rank: None where queries come from one matrix. rope: None without positions (Kimi Linear); the row is as
    wide.
    bias: on the projections into the latent space and on the output. gate_rows: numbers of a gate on what the heads
    give, one per head (Ling 3) or one per number (Kimi K3); 0: there is none.
    """

    kind: ClassVar[str] = "mla"
    num_query_heads: int
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None
    rope: Rope | None
    bias: bool = False
    gate_rows: int = 0

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        return (LayerCache(dtype.latent_planes(self.kv_lora_rank, self.qk_rope_head_dim)),)

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        row = self.kv_lora_rank + self.qk_rope_head_dim
        expanded = self.num_query_heads * (self.qk_nope_head_dim + self.v_head_dim)
        found = [
            *self._query_weights(hidden_size),
            Weight("kv_a", (row, hidden_size)),
            Weight("kv_a_norm", (self.kv_lora_rank,)),
            Weight("kv_b", (expanded, self.kv_lora_rank)),
            Weight("o", (hidden_size, self.num_query_heads * self.v_head_dim)),
        ]
        if self.gate_rows:
            found.append(Weight("gate", (self.gate_rows, hidden_size)))
        if self.bias:
            found += [Weight("kv_a_bias", (row,)), Weight("o_bias", (hidden_size,))]
            found += [Weight("q_a_bias", (self.q_lora_rank,))] if self.q_lora_rank else []
        return tuple(found)

    def _query_weights(self, hidden_size: int) -> list[Weight]:
        rows = self.num_query_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        if self.q_lora_rank is None:
            return [Weight("q", (rows, hidden_size))]
        return [
            Weight("q_a", (self.q_lora_rank, hidden_size)),
            Weight("q_a_norm", (self.q_lora_rank,)),
            Weight("q_b", (rows, self.q_lora_rank)),
        ]

    def visible(self, query: int, key: int) -> bool:
        return key <= query

    def context_read(self, context_tokens: int) -> int:
        return context_tokens

    def pairs(self, start: int, num_tokens: int) -> int:
        return causal_pairs(start, num_tokens)

    def flops(self, start: int, num_tokens: int) -> int:
        return min(self._absorbed(self.pairs(start, num_tokens)), self._expanded(start, num_tokens))

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        return matched_tokens if kept_from == 0 else 0

    def shard(self, tensor_parallel: int) -> Self:
        """The rows have one head: every rank keeps a copy of all of them."""
        heads = split(self.num_query_heads, tensor_parallel, "query heads")
        return replace(self, num_query_heads=heads, gate_rows=self.gate_rows // tensor_parallel)

    def _absorbed(self, pairs: int) -> int:
        return 2 * pairs * self.num_query_heads * (2 * self.kv_lora_rank + self.qk_rope_head_dim)

    def _expanded(self, start: int, num_tokens: int) -> int:
        """Scores and sums over expanded heads, and the expansion of the rows that came before."""
        wide = self.qk_nope_head_dim + self.qk_rope_head_dim + self.v_head_dim
        again = start * self.kv_lora_rank * (self.qk_nope_head_dim + self.v_head_dim)
        return 2 * self.num_query_heads * (causal_pairs(start, num_tokens) * wide + again)
