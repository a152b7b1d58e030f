"""Gated DeltaNet (Yang et al. 2024, arXiv 2412.06464): linear attention whose state forgets and corrects itself.

Qwen3-Next, Qwen3.5 and 3.6 have three such layers to one of full attention.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.weights import Weight


@KINDS.register("gated_delta")
@dataclass(frozen=True, kw_only=True)
class GatedDelta(RecurrentKind):
    """num_key_heads heads of queries and keys, num_value_heads of values; a state of key_dim x value_dim per value
    head."""

    kind: ClassVar[str] = "gated_delta"
    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int

    @property
    def conv_channels(self) -> int:
        return 2 * self.num_key_heads * self.key_head_dim + self.num_value_heads * self.value_head_dim

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.num_value_heads, self.key_head_dim, self.value_head_dim

    @property
    def flops_per_token(self) -> int:
        # Decay, what the state holds for the key, the outer product that corrects it, and the query: 1 + 2 + 2 + 2.
        return 7 * self.num_value_heads * self.key_head_dim * self.value_head_dim

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        values = self.num_value_heads * self.value_head_dim
        return (
            Weight("qkv", (self.conv_channels, hidden_size)),
            Weight("z", (values, hidden_size)),
            Weight("beta", (self.num_value_heads, hidden_size)),
            Weight("decay", (self.num_value_heads, hidden_size)),
            Weight("conv", (self.conv_channels, 1, self.conv_kernel)),
            Weight("dt_bias", (self.num_value_heads,)),
            Weight("a_log", (self.num_value_heads,)),
            Weight("out_norm", (self.value_head_dim,)),
            Weight("o", (hidden_size, values)),
        )

    def shard(self, tensor_parallel: int) -> Self:
        return replace(
            self,
            num_key_heads=split(self.num_key_heads, tensor_parallel, "key heads of linear attention"),
            num_value_heads=split(self.num_value_heads, tensor_parallel, "value heads of linear attention"),
        )
