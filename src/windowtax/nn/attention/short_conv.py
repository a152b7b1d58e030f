"""LFM2's layers without attention: a short convolution between two gates."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.recurrent import RecurrentLayer, State
from windowtax.nn.inputs import StepInputs
from windowtax.ops.linear import linear
from windowtax.spec.attention.base import AttentionKind


@ATTENTION.register("short_conv")
class ShortConvLayer(RecurrentLayer):
    """Computes spec.attention.short_conv."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        super().__init__(spec, layer, weights, norm_eps)
        self.input, self.output = weights["in"], weights["o"]
        self.biases = {name: weights.get(f"{name}_bias") for name in ("in", "conv", "o")}

    def forward(self, hidden: Tensor, inputs: StepInputs) -> Tensor:
        before, behind, x = linear(hidden, self.input, self.biases["in"]).chunk(3, dim=-1)
        mixed = self.fold([before * x], inputs)
        if self.biases["conv"] is not None:
            mixed += self.biases["conv"].float()
        return linear(behind * mixed.to(hidden.dtype), self.output, self.biases["o"])

    def mix(self, tokens: Sequence[Tensor], state: State) -> Tensor:
        """x [T, C] -> [T, C]."""
        return self.convolve(tokens[0], state)
