"""What layers with a state per sequence compute alike: reading it, the short convolution, and writing it back.

A slot of the store holds what its last owner left there, so a sequence's first tokens begin from nothing.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from windowtax.nn.attention.base import Attention
from windowtax.nn.inputs import StepInputs
from windowtax.ops.causal_conv import causal_conv
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.store.extent import Extent
from windowtax.store.kv import Vectors


@dataclass(slots=True)
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

    def copy_to(self, slot: Extent) -> None:
        """Writes all of it once more, into another slot."""
        for vectors in self.vectors.values():
            vectors.write(slot.slots(0, 1), vectors.read(self.slot).clone())


class RecurrentLayer(Attention):
    """A layer whose tokens go through a short convolution. kernel [C, K]."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        self.layer = layer
        self.norm_eps = norm_eps
        self.num_kept = cast(RecurrentKind, spec).conv_kernel - 1
        self.kernel = weights["conv"][:, 0]

    @abstractmethod
    def mix(self, tokens: Sequence[Tensor], state: State) -> Tensor:
        """What the next tokens of one sequence [T, ...] give; its state moves on behind them."""

    def fold(self, tokens: Sequence[Tensor], inputs: StepInputs) -> Tensor:
        """The step's tokens [T, ...] through `mix`, sequence by sequence, in runs that end where a checkpoint of the
        state is wanted."""
        (part,) = inputs.store.parts(self.layer, "conv")
        outs: list[Tensor] = []
        for rows in inputs.sequences:
            state = State(part.vectors, rows.extents[part.group], rows.start == 0)
            for run, checkpoint in rows.runs():
                outs.append(self.mix([x[run] for x in tokens], state))
                state.is_new = False
                if checkpoint:
                    state.copy_to(checkpoint[part.group])
        return torch.cat(outs)

    def convolve(self, x: Tensor, state: State) -> Tensor:
        """The convolution of a sequence's next tokens x [T, C], in float32; its last tokens stay in the state.

        All tokens are rounded to what is kept of the last ones, so that none depends on where a chunk ends.
        """
        x = state.vectors["conv"].as_kept(x)
        before = state.read("conv").T
        out = causal_conv(x, before, self.kernel)
        state.write("conv", torch.cat([before, x])[-self.num_kept :].T)  # after it was read: `before` lies there
        return out
