"""Linear attention with a plain state: the sum of outer products of keys and values (Katharopoulos et al. 2020,
arXiv 2006.16236). With a fixed decay per head it is lightning attention (Qin et al. 2024, arXiv 2401.04658; MiniMax-01,
arXiv 2501.08313), and Ling's layers."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.softmax import split
from windowtax.spec.weights import Weight


@KINDS.register("linear")
@dataclass(frozen=True, kw_only=True)
class LinearAttention(RecurrentKind):
    """num_heads heads of head_dim numbers, without convolution. decay: of a fixed rate per head (lightning attention).

    output_gate, output_norm: a gate as wide as all heads, and a norm over them, before the output projection.
    """

    kind: ClassVar[str] = "linear"
    conv_kernel: int = 0
    num_heads: int
    head_dim: int
    decay: bool = False
    output_gate: bool = False
    output_norm: bool = False

    @property
    def conv_channels(self) -> int:
        return 0

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.num_heads, self.head_dim, self.head_dim

    @property
    def flops_per_token(self) -> int:
        return (5 if self.decay else 4) * self.num_heads * self.head_dim * self.head_dim

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        rows = self.num_heads * self.head_dim
        found = [Weight("qkv", (3 * rows, hidden_size)), Weight("o", (hidden_size, rows))]
        if self.output_gate:
            found.append(Weight("gate", (rows, hidden_size)))
        if self.output_norm:
            found.append(Weight("out_norm", (rows,)))
        return tuple(found)

    def shard(self, tensor_parallel: int) -> Self:
        return replace(self, num_heads=split(self.num_heads, tensor_parallel, "heads of linear attention"))
