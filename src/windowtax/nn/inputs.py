"""What one step puts into the model besides token ids: positions, slots to write, extents to read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from windowtax.ops.elementwise import rope_angles
from windowtax.spec.rope.base import Rope, RopeTable
from windowtax.store.extent import Extent
from windowtax.store.kv import KVStore


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """One sequence's part of the step: rows `rows` of the batch hold its tokens from position `start` on.

    context_tokens: the longest that the sequence can become; scalings that depend on the length are made for it, so
    its tokens do not depend on what else the engine serves. extents: per layer group, where its held rows lie, the
    ones of this step included. checkpoints: behind which positions, rising, its states are written once more, and where
    to, by layer group.
    """

    rows: slice
    start: int
    context_tokens: int
    extents: tuple[Extent, ...]
    checkpoints: tuple[tuple[int, Mapping[int, Extent]], ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of this sequence in the step."""
        return self.rows.stop - self.rows.start

    @property
    def end(self) -> int:
        """Past-the-last position."""
        return self.start + self.num_tokens

    def runs(self) -> Iterator[tuple[slice, Mapping[int, Extent]]]:
        """Its rows of the batch, cut behind each checkpoint, and where that goes."""
        first = self.rows.start
        for position, places in (*self.checkpoints, (self.end, {})):
            end = self.rows.start + position - self.start
            if end > first:
                yield slice(first, end), places
            first = end


@dataclass
class StepInputs:
    """T tokens of several sequences, one after the other.

    token_ids, positions [T]; sampled_rows: whose logits are wanted. kept, slots: per group of rows of tokens, which of
    the T tokens are kept there (None: all), and the pool slots of those; groups of other rows have no slots.
    """

    token_ids: Tensor
    positions: Tensor
    kept: tuple[Tensor | None, ...]
    slots: tuple[Tensor, ...]
    sequences: tuple[SequenceRows, ...]
    sampled_rows: Tensor
    store: KVStore
    _rotations: dict[Rope, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def rotation(self, rope: Rope) -> tuple[Tensor, Tensor]:
        """cos and sin [T, 1, rotary_dim / 2] for these positions, made once per step for each distinct RoPE."""
        if rope not in self._rotations:
            tables = [_table(rope, rows.context_tokens) for rows in self.sequences]
            if len(set(tables)) == 1:
                self._rotations[rope] = _turns(self.positions, tables[0])
            else:
                turns = [_turns(self.positions[r.rows], table) for r, table in zip(self.sequences, tables, strict=True)]
                self._rotations[rope] = torch.cat([cos for cos, _ in turns]), torch.cat([sin for _, sin in turns])
        return self._rotations[rope]


@lru_cache(maxsize=4096)
def _table(rope: Rope, context_tokens: int) -> RopeTable:
    return rope.table(context_tokens)


def _turns(positions: Tensor, table: RopeTable) -> tuple[Tensor, Tensor]:
    inv_freq = torch.tensor(table.inv_freq, dtype=torch.float32, device=positions.device)
    angles = rope_angles(positions, inv_freq)[:, None, :]
    return angles.cos() * table.attention_factor, angles.sin() * table.attention_factor
