"""Blocks: the unit of cache allocation. A pool hands out block ids; the tensors behind them are in store/."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from windowtax.base.errors import DoesNotFit


class BlockBytes(Protocol):
    """What lies behind the blocks: store/kv.py."""

    def block_bytes(self, group: int, block_id: int) -> bytes: ...
    def put_block_bytes(self, group: int, block_id: int, data: bytes) -> None: ...
    def copy_block(self, group: int, source: int, target: int) -> None: ...


class BlockPool:
    """The free and the held blocks of one layer group.

    Blocks are taken and given back in runs of neighbours: a prompt's blocks are one run or a few, however many they
    are. Prompts fill the pool from its start; single blocks, by which sequences grow, come from its end, so that they
    cut no space up in which a prompt could lie.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._held = bytearray(num_blocks)  # by block: 1 where it is in somebody's table
        self._num_free = num_blocks

    @property
    def num_free(self) -> int:
        """Blocks that can be taken."""
        return self._num_free

    @property
    def num_held(self) -> int:
        """Blocks in somebody's table."""
        return self.num_blocks - self._num_free

    def take(self, count: int = 1, after: int | None = None) -> list[int]:
        """So many free blocks, those that follow `after` where they are free: neighbours are read without a gather.

        Raises DoesNotFit when there are not so many; callers ask `num_free` first.
        """
        if count > self._num_free:
            raise DoesNotFit(f"The block pool has {self._num_free:,} free blocks, and {count:,} are asked for.")
        held, taken = self._held, list[int]()
        start = self.num_blocks if after is None else after + 1
        while len(taken) < count:
            if start >= self.num_blocks or held[start]:
                start = held.rfind(0) if count == 1 else held.find(0)
            limit = min(start + count - len(taken), self.num_blocks)
            end = held.find(1, start, limit)
            if end < 0:
                end = limit
            held[start:end] = b"\1" * (end - start)
            taken += range(start, end)
            start = end
        self._num_free -= count
        return taken

    def give_back(self, blocks: Iterable[int]) -> None:
        """Makes held blocks free again. Giving back a block that is not held is a bug and raises RuntimeError."""
        held = self._held
        for start, end in _runs(blocks):
            if start < 0 or end > self.num_blocks or held.find(0, start, end) >= 0:
                raise RuntimeError(f"a block of {start} to {end - 1} is given back but not held")
            held[start:end] = bytes(end - start)
            self._num_free += end - start

    def check(self) -> None:
        """Raises RuntimeError unless the free blocks are as many as were counted."""
        if self._held.count(0) != self._num_free:
            raise RuntimeError("the block pool lost or doubled a block")


def _runs(blocks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in a row, as first and past-the-last block."""
    start = end = -1
    for block in blocks:
        if block != end:
            if end > start:
                yield start, end
            start = block
        end = block + 1
    if end > start:
        yield start, end
