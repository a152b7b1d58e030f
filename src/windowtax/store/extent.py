"""Extents: where the rows of one sequence lie in the pool of one layer group."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Extent:
    """The held rows of one sequence. A row is a token, the summary of several, or a state.

    first: index of the first held row in the sequence. num_rows: how many are held from there. rows_per_block: of the
    pool's blocks. begin: the pool row of the first one. blocks: the ids of their blocks, or None where these follow
    each other, so that the rows are one slice. device: of the pool.
    """

    first: int
    num_rows: int
    rows_per_block: int
    begin: int
    blocks: Tensor | None
    device: torch.device

    @classmethod
    def of(
        cls, block_ids: Sequence[int], first: int, num_rows: int, rows_per_block: int, device: torch.device
    ) -> "Extent":
        """first: the row at which the first block begins. No blocks: no rows."""
        if not block_ids:
            return cls(first, 0, rows_per_block, 0, None, device)
        consecutive = block_ids[-1] - block_ids[0] == len(block_ids) - 1 and all(
            b == a + 1 for a, b in itertools.pairwise(block_ids)
        )
        blocks = None if consecutive else torch.tensor(block_ids, device=device)
        return cls(first, num_rows, rows_per_block, block_ids[0] * rows_per_block, blocks, device)

    @property
    def end(self) -> int:
        """Past-the-last held row."""
        return self.first + self.num_rows

    def part(self, first: int, end: int) -> "Extent":
        """The same for the rows first ... end - 1 of the sequence; `first` begins a block unless blocks are a slice."""
        skipped = first - self.first
        if self.blocks is None:
            return Extent(first, end - first, self.rows_per_block, self.begin + skipped, None, self.device)
        blocks = self.blocks[skipped // self.rows_per_block :]
        return Extent(first, end - first, self.rows_per_block, 0, blocks, self.device)

    def slots(self, first: int, end: int) -> Tensor:
        """The pool rows of the held rows first ... end - 1 of the sequence."""
        rows = torch.arange(first - self.first, end - self.first, device=self.device)
        if self.blocks is None:
            return rows + self.begin
        return self.blocks[rows // self.rows_per_block] * self.rows_per_block + rows % self.rows_per_block
