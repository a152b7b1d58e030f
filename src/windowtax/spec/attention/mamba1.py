"""Mamba (Gu and Dao 2023, arXiv 2312.00752): a selective state space, one small state per channel (Jamba's layers)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.weights import Weight


@KINDS.register("mamba1")
@dataclass(frozen=True, kw_only=True)
class Mamba1(RecurrentKind):
    """channels: expand * hidden_size. inner_norms: RMS norms on dt, B and C (Jamba)."""

    kind: ClassVar[str] = "mamba1"
    channels: int
    state_dim: int
    dt_rank: int
    conv_bias: bool = True
    projection_bias: bool = False
    inner_norms: bool = False

    @property
    def conv_channels(self) -> int:
        return self.channels

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.channels, self.state_dim

    @property
    def flops_per_token(self) -> int:
        # Decay from dt and A, input from dt, B and x, and the sum with C: two each.
        return 6 * self.channels * self.state_dim

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        found = [
            Weight("in", (2 * self.channels, hidden_size)),
            Weight("conv", (self.channels, 1, self.conv_kernel)),
            Weight("x", (self.dt_rank + 2 * self.state_dim, self.channels)),
            Weight("dt", (self.channels, self.dt_rank)),
            Weight("dt_bias", (self.channels,)),
            Weight("a_log", (self.channels * self.state_dim,)),
            Weight("d", (self.channels,)),
            Weight("o", (hidden_size, self.channels)),
        ]
        if self.conv_bias:
            found.append(Weight("conv_bias", (self.channels,)))
        if self.projection_bias:
            found += [Weight("in_bias", (2 * self.channels,)), Weight("o_bias", (hidden_size,))]
        if self.inner_norms:
            found += [Weight("dt_norm", (self.dt_rank,))]
            found += [Weight(f"{name}_norm", (self.state_dim,)) for name in ("b", "c")]
        return tuple(found)

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, channels=split(self.channels, tensor_parallel, "channels of Mamba"))
