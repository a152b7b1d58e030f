"""Mamba-2 (Dao and Gu 2024, arXiv 2405.21060): state-space heads with one decay each (Nemotron-H's layers)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.weights import Weight


@KINDS.register("mamba2")
@dataclass(frozen=True, kw_only=True)
class Mamba2(RecurrentKind):
    """num_heads heads of head_dim numbers; B and C of state_dim numbers, shared by the heads of a group.

    out_norm: a gated norm before the output projection (all but some of Falcon-H1).
    """

    kind: ClassVar[str] = "mamba2"
    num_heads: int
    head_dim: int
    state_dim: int
    num_groups: int
    conv_bias: bool = True
    projection_bias: bool = False
    out_norm: bool = True

    @property
    def conv_channels(self) -> int:
        return self._inner + 2 * self.num_groups * self.state_dim

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.num_heads, self.head_dim, self.state_dim

    @property
    def flops_per_token(self) -> int:
        # Decay, the outer product of input and B, and the sum with C: 1 + 2 + 2.
        return 5 * self._inner * self.state_dim

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        rows = self._inner + self.conv_channels + self.num_heads
        found = [
            Weight("in", (rows, hidden_size)),
            Weight("conv", (self.conv_channels, 1, self.conv_kernel)),
            *(Weight(name, (self.num_heads,)) for name in ("dt_bias", "a_log", "d")),
            Weight("o", (hidden_size, self._inner)),
        ]
        if self.out_norm:
            found.append(Weight("out_norm", (self._inner,)))
        if self.conv_bias:
            found.append(Weight("conv_bias", (self.conv_channels,)))
        if self.projection_bias:
            found += [Weight("in_bias", (rows,)), Weight("o_bias", (hidden_size,))]
        return tuple(found)

    def shard(self, tensor_parallel: int) -> Self:
        """Groups are copied where there are fewer of them than ranks, as KV heads are."""
        groups = self.num_groups
        return replace(
            self,
            num_heads=split(self.num_heads, tensor_parallel, "heads of Mamba-2"),
            num_groups=max(1, groups // tensor_parallel)
            if tensor_parallel % groups == 0
            else split(groups, tensor_parallel, "groups of Mamba-2"),
        )

    @property
    def _inner(self) -> int:
        return self.num_heads * self.head_dim
