"""The cache manager: gives sequences the blocks that their next tokens need, and takes back what no query will read.

How many blocks that is comes from the CacheLayout; this file only keeps the books.
"""

from collections.abc import Sequence

from windowtax.cache.blocks import BlockPool
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout


class CacheManager:
    """Block pools of all layer groups, and the tables of all sequences that hold blocks."""

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int]) -> None:
        self.layout = layout
        self.pools = [BlockPool(count) for count in num_blocks]
        # Groups that give blocks back before a sequence ends: those whose layers do not keep everything.
        self._trimmed = [group for group in range(len(layout.groups)) if not layout.groups[group].cache.grows]
        self._tables: dict[str, list[BlockTable]] = {}
        # Blocks of every group end at multiples of the block size, unless a group begins inside a block.
        self._aligned = all(group.cache.skip_first % layout.block_size == 0 for group in layout.groups)
        self._covered: dict[str, int] = {}
        self._peak_bytes = 0

    def tables(self, sequence_id: str) -> list[BlockTable]:
        """One table per layer group. They change with the next call of `reserve`, `trim` or `free`."""
        return self._tables[sequence_id]

    def blocks_missing(self, sequence_id: str, num_computed: int, num_new: int) -> tuple[int, ...]:
        """Per group, how many blocks the sequence must still get before `num_new` more tokens can be computed."""
        tables = self._tables.get(sequence_id)
        missing: list[int] = []
        for group in range(len(self.pools)):
            first, end = self.layout.held_range(group, num_computed, num_new)
            have = max(first, tables[group].end) if tables else first
            missing.append(max(0, end - have))
        return tuple(missing)

    def reserve(self, sequence_id: str, num_computed: int, num_new: int) -> bool:
        """Takes those blocks from the pools; False, and nothing is taken, where a pool has too few."""
        end = num_computed + num_new
        if end <= self._covered.get(sequence_id, 0):
            return True  # most decode steps: the last block has room
        missing = self.blocks_missing(sequence_id, num_computed, num_new)
        if any(count > pool.num_free for count, pool in zip(missing, self.pools, strict=True)):
            return False
        tables = self._tables.setdefault(sequence_id, [BlockTable() for _ in self.pools])
        for group, (table, pool, count) in enumerate(zip(tables, self.pools, missing, strict=True)):
            if not table.blocks:
                table.first = self.layout.held_range(group, num_computed, num_new)[0]
            for _ in range(count):
                table.blocks.append(pool.take(after=table.last_block))
        self._peak_bytes = max(self._peak_bytes, self.held_bytes)
        size = self.layout.block_size
        self._covered[sequence_id] = -(-end // size) * size if self._aligned else end
        return True

    def trim(self, sequence_id: str, num_computed: int) -> None:
        """Gives back the blocks that lie wholly before what the next token reads (windows and chunks)."""
        for group in self._trimmed:
            table = self._tables[sequence_id][group]
            first, _ = self.layout.held_range(group, num_computed, 1)
            while table.blocks and table.first < first:
                self.pools[group].give_back(table.blocks.pop(0))
                table.first += 1

    def free(self, sequence_id: str) -> None:
        """Gives back everything that the sequence holds; a sequence that holds nothing is no error."""
        self._covered.pop(sequence_id, None)
        for pool, table in zip(self.pools, self._tables.pop(sequence_id, []), strict=False):
            for block in table.blocks:
                pool.give_back(block)

    def held_bytes_of(self, sequence_id: str) -> int:
        """Bytes of the blocks that one sequence holds now."""
        tables = self._tables.get(sequence_id, [])
        return sum(self.layout.block_bytes(group) * len(table.blocks) for group, table in enumerate(tables))

    @property
    def num_blocks(self) -> tuple[int, ...]:
        """Blocks in each pool."""
        return tuple(pool.num_blocks for pool in self.pools)

    @property
    def held_bytes(self) -> int:
        """Bytes of all blocks that somebody holds now."""
        return self.layout.pool_bytes([pool.num_held for pool in self.pools])

    @property
    def free_bytes(self) -> int:
        """Bytes of all free blocks."""
        return self.layout.pool_bytes([pool.num_free for pool in self.pools])

    @property
    def peak_bytes(self) -> int:
        """The most bytes held at any time since `reset_peak`."""
        return self._peak_bytes

    def reset_peak(self) -> None:
        """Starts the peak anew from what is held now."""
        self._peak_bytes = self.held_bytes

    def check(self) -> None:
        """Raises RuntimeError where the tables and the pools disagree."""
        for group, pool in enumerate(self.pools):
            pool.check()
            held = [block for tables in self._tables.values() for block in tables[group].blocks]
            if len(held) != len(set(held)) or len(held) != pool.num_held:
                raise RuntimeError(f"group {group}: the tables and the pool disagree")
