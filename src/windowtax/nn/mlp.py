"""The feed-forward part of a layer."""

from collections.abc import Mapping

import torch
from torch import Tensor

from windowtax.ops.elementwise import gated
from windowtax.ops.linear import linear
from windowtax.spec.mlp import GatedMlp


class GatedLayer:
    """Computes spec.mlp.GatedMlp. gate and up lie in one matrix."""

    def __init__(self, spec: GatedMlp, weights: Mapping[str, Tensor]) -> None:
        self.activation = spec.activation
        self.gate_up = torch.cat([weights["gate"], weights["up"]])
        self.gate_up_bias = torch.cat([weights["gate_bias"], weights["up_bias"]]) if spec.bias else None
        self.down = weights["down"]
        self.down_bias = weights.get("down_bias")

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden [T, hidden_size] -> [T, hidden_size]."""
        inner = gated(linear(hidden, self.gate_up, self.gate_up_bias), self.activation)
        return linear(inner, self.down, self.down_bias)
