"""Blocks: the unit of cache allocation. A pool hands out block ids; the tensors behind them are in store/."""

from collections import OrderedDict

from windowtax.base.errors import DoesNotFit


class BlockPool:
    """The free and the held blocks of one layer group."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self._held: set[int] = set()

    @property
    def num_free(self) -> int:
        """Blocks that can be taken."""
        return len(self._free)

    @property
    def num_held(self) -> int:
        """Blocks in somebody's table."""
        return len(self._held)

    def take(self, after: int | None = None) -> int:
        """One free block, the one that follows `after` where it is free: neighbours are read without a gather.

        Raises DoesNotFit when there is none; callers ask `num_free` first.
        """
        if not self._free:
            raise DoesNotFit("The block pool is empty.")
        if after is not None and after + 1 in self._free:
            block = after + 1
            del self._free[block]
        else:
            block, _ = self._free.popitem(last=False)
        self._held.add(block)
        return block

    def give_back(self, block: int) -> None:
        """Makes a held block free again. Giving back a block that is not held is a bug and raises RuntimeError."""
        if block not in self._held:
            raise RuntimeError(f"block {block} is given back but not held")
        self._held.remove(block)
        self._free[block] = None

    def check(self) -> None:
        """Raises RuntimeError unless every block is free or held, and none is both."""
        everything = set(self._free) | self._held
        if self._held & set(self._free) or everything != set(range(self.num_blocks)):
            raise RuntimeError("the block pool lost or doubled a block")
