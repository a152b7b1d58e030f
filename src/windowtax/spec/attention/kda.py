"""Kimi delta attention (Kimi team 2025, arXiv 2510.26692): Gated DeltaNet with a decay for every channel of a key."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.weights import Weight


@KINDS.register("kda")
@dataclass(frozen=True, kw_only=True)
class KimiDelta(RecurrentKind):
    """num_heads heads of head_dim numbers for queries, keys and values; gates through a rank of gate_rank.

    gate_rank: None for output gates from one whole matrix (Kimi K3). whole_decay: decays from one whole matrix too
    (Ling 3), not through a rank of head_dim.
    """

    kind: ClassVar[str] = "kda"
    num_heads: int
    head_dim: int
    gate_rank: int | None
    whole_decay: bool = False

    @property
    def conv_channels(self) -> int:
        return 3 * self._rows

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.num_heads, self.head_dim, self.head_dim

    @property
    def flops_per_token(self) -> int:
        return 7 * self._rows * self.head_dim

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        rows = self._rows
        if self.gate_rank is None:
            gate = (Weight("gate", (rows, hidden_size)),)
        else:
            gate = (Weight("gate_a", (self.gate_rank, hidden_size)), Weight("gate_b", (rows, self.gate_rank)))
        if self.whole_decay:
            decay = (Weight("decay", (rows, hidden_size)),)
        else:
            decay = (Weight("decay_a", (self.head_dim, hidden_size)), Weight("decay_b", (rows, self.head_dim)))
        return (
            *(Weight(name, (rows, hidden_size)) for name in ("q", "k", "v")),
            Weight("conv", (self.conv_channels, 1, self.conv_kernel)),
            *decay,
            *gate,
            Weight("beta", (self.num_heads, hidden_size)),
            Weight("dt_bias", (rows,)),
            Weight("a_log", (self.num_heads,)),
            Weight("out_norm", (self.head_dim,)),
            Weight("o", (hidden_size, rows)),
        )

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, num_heads=split(self.num_heads, tensor_parallel, "heads of linear attention"))

    @property
    def _rows(self) -> int:
        return self.num_heads * self.head_dim
