"""What layers with a state per sequence compute alike: reading it, the short convolution, and writing it back.

A slot of the store holds what its last owner left there, so a sequence's first tokens begin from nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from windowtax.nn.attention.base import Attention
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.ops.causal_conv import causal_conv
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.store.extent import Extent
from windowtax.store.kv import Vectors


@dataclass(frozen=True, slots=True)
class State:
    """What one layer keeps of one sequence. is_new: the sequence has no token in it yet."""

    vectors: Mapping[str, Vectors]
    slot: Extent
    is_new: bool

    def read(self, name: str) -> Tensor:
        """The plane of that name, in the type in which it is kept."""
        kept = self.vectors[name].read(self.slot)[0]
        return torch.zeros_like(kept) if self.is_new else kept

    def write(self, name: str, values: Tensor) -> None:
        """Makes these values the plane of that name."""
        self.vectors[name].write(self.slot.slots(0, 1), values[None])


class RecurrentLayer(Attention):
    """A layer whose tokens go through a short convolution. kernel [C, K]."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        self.layer = layer
        self.norm_eps = norm_eps
        self.num_kept = cast(RecurrentKind, spec).conv_kernel - 1
        self.kernel = weights["conv"][:, 0]

    def state(self, rows: SequenceRows, inputs: StepInputs) -> State:
        """The state of one sequence of the step."""
        (part,) = inputs.store.parts(self.layer, "conv")
        return State(part.vectors, rows.extents[part.group], rows.start == 0)

    def convolve(self, x: Tensor, state: State) -> Tensor:
        """The convolution of a sequence's next tokens x [T, C], in float32; its last tokens stay in the state.

        All tokens are rounded to what is kept of the last ones, so that none depends on where a chunk ends.
        """
        x = state.vectors["conv"].as_kept(x)
        before = state.read("conv").T
        out = causal_conv(x, before, self.kernel)
        state.write("conv", torch.cat([before, x])[-self.num_kept :].T)  # after it was read: `before` lies there
        return out
