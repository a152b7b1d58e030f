"""What one step puts into the model besides token ids: positions, slots to write, extents to read."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from windowtax.ops.elementwise import rope_angles
from windowtax.spec.rope.base import Rope
from windowtax.store.kv import Extent, KVStore


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """One sequence's part of the step: rows `rows` of the batch hold its tokens from position `start` on.

    extents: per layer group, where its held tokens lie, the ones of this step included.
    """

    rows: slice
    start: int
    extents: tuple[Extent, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of this sequence in the step."""
        return self.rows.stop - self.rows.start


@dataclass
class StepInputs:
    """T tokens of several sequences, one after the other.

    token_ids, positions [T]; slots: per group, the pool slots [T] to write; sampled_rows: whose logits are wanted.
    context_tokens: the window that RoPE tables are made for.
    """

    token_ids: Tensor
    positions: Tensor
    slots: tuple[Tensor, ...]
    sequences: tuple[SequenceRows, ...]
    sampled_rows: Tensor
    store: KVStore
    context_tokens: int
    _rotations: dict[Rope, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rotation(self, rope: Rope) -> tuple[Tensor, Tensor]:
        """cos and sin [T, 1, rotary_dim / 2] for these positions, made once per step for each distinct RoPE."""
        if rope not in self._rotations:
            table = rope.table(self.context_tokens)
            inv_freq = torch.tensor(table.inv_freq, dtype=torch.float32, device=self.positions.device)
            angles = rope_angles(self.positions, inv_freq)[:, None, :]
            self._rotations[rope] = angles.cos() * table.attention_factor, angles.sin() * table.attention_factor
        return self._rotations[rope]
