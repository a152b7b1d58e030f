"""Block tables: which blocks hold which part of a sequence, in one layer group."""


class BlockTable:
    """The held blocks of one sequence in one group: those with index first ... first + len(blocks) - 1.

    A block index counts a sequence's blocks from its first token; a block id names a place in the pool.
    """

    def __init__(self) -> None:
        self.first = 0
        self.blocks: list[int] = []

    @property
    def end(self) -> int:
        """Past-the-last block index."""
        return self.first + len(self.blocks)

    @property
    def last_block(self) -> int | None:
        """The id of the newest block."""
        return self.blocks[-1] if self.blocks else None

    def drop_before(self, index: int) -> list[int]:
        """Forgets the blocks before this block index; returns their ids. An empty table keeps its place."""
        count = min(index - self.first, len(self.blocks))
        dropped = self.blocks[:count]
        del self.blocks[:count]
        self.first += count
        return dropped

    def slots(self, start: int, num_tokens: int, block_size: int) -> list[int]:
        """Pool slots (block id * block_size + offset) of the tokens at start ... start + num_tokens - 1."""
        blocks, first = self.blocks, self.first
        return [
            blocks[position // block_size - first] * block_size + position % block_size
            for position in range(start, start + num_tokens)
        ]
