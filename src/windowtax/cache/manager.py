"""The cache manager: gives sequences the blocks that their next tokens need, and takes back what no query will read.

How many blocks that is comes from the CacheLayout; this file only keeps the books.
"""

from collections.abc import Iterable, Sequence

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
        self._block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
        self._held_bytes = self._peak_bytes = 0

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

    def tokens_covered(self, sequence_id: str) -> int:
        """How many tokens of the sequence, from its first one, can be computed with the blocks that it has had."""
        return self._covered.get(sequence_id, 0)

    def reserve(self, sequence_id: str, num_computed: int, num_new: int) -> bool:
        """Takes those blocks from the pools; False, and nothing is taken, where a pool has too few."""
        end = num_computed + num_new
        if end <= self._covered.get(sequence_id, 0):
            return True  # most decode steps: the last block has room
        missing = self.blocks_missing(sequence_id, num_computed, num_new)
        if not self._make_free(missing):
            return False
        tables = self._tables.get(sequence_id)
        if tables is None:
            tables = self._tables[sequence_id] = [BlockTable() for _ in self.pools]
        for group, count in enumerate(missing):
            table = tables[group]
            if not table.blocks:
                table.first = self.layout.held_range(group, num_computed, num_new)[0]
            if count:
                table.blocks += self.pools[group].take(count, after=table.last_block)
                self._held_bytes += count * self._block_bytes[group]
        self._peak_bytes = max(self._peak_bytes, self._held_bytes)
        size = self.layout.block_size
        self._covered[sequence_id] = -(-end // size) * size if self._aligned else end
        return True

    def trim(self, sequence_id: str, num_computed: int) -> None:
        """Gives back the blocks that lie wholly before what the next token reads (windows and chunks)."""
        for group in self._trimmed:
            table = self._tables[sequence_id][group]
            first, _ = self.layout.held_range(group, num_computed, 1)
            if first > table.first:
                self._give_back(group, table.drop_before(first))

    def free(self, sequence_id: str) -> None:
        """Gives back everything that the sequence holds; a sequence that holds nothing is no error."""
        self._covered.pop(sequence_id, None)
        for group, table in enumerate(self._tables.pop(sequence_id, [])):
            self._give_back(group, table.blocks)

    def held_bytes_of(self, sequence_id: str) -> int:
        """Bytes of the blocks that one sequence holds now."""
        tables = self._tables.get(sequence_id, [])
        return sum(size * len(table.blocks) for size, table in zip(self._block_bytes, tables, strict=False))

    @property
    def num_blocks(self) -> tuple[int, ...]:
        """Blocks in each pool."""
        return tuple(pool.num_blocks for pool in self.pools)

    @property
    def held_bytes(self) -> int:
        """Bytes of all blocks that somebody holds now."""
        return self._held_bytes

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
        self._peak_bytes = self._held_bytes

    def check(self) -> None:
        """Raises RuntimeError where the tables and the pools disagree."""
        for group, pool in enumerate(self.pools):
            pool.check()
            held = [block for tables in self._tables.values() for block in tables[group].blocks]
            if len(held) != len(set(held)) or len(held) != pool.num_held:
                raise RuntimeError(f"group {group}: the tables and the pool disagree")
        if self._held_bytes != self.layout.pool_bytes([pool.num_held for pool in self.pools]):
            raise RuntimeError("the held bytes and the pools disagree")

    def ready(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> bool:
        """Whether a waiting sequence may be admitted; False while its prefix is on the way from a lower tier."""
        return True

    def wait(self, timeout_s: float) -> None:
        """Waits for such a prefix, at most so long."""

    def cached_by_tier(self, sequence_id: str) -> dict[str, int]:
        """Of the tokens that `attach` found: how many came from which tier."""
        return {}

    def book_prefill(self, num_tokens: int, seconds: float) -> None:
        """Tells how long prompts take to compute: what loading them from a lower tier is weighed against."""

    def close(self) -> None:
        """Ends what runs beside the engine."""

    def attach(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        """Gives a new sequence what is kept of its prefix; returns how many tokens need not be computed. Here: none."""
        return 0

    def completed(self, sequence_id: str, token_ids: Sequence[int], num_computed: int) -> None:
        """Tells that so many tokens of the sequence are computed, and in its blocks."""

    def _make_free(self, missing: Iterable[int]) -> bool:
        """Whether each pool has so many free blocks."""
        return all(count <= pool.num_free for count, pool in zip(missing, self.pools, strict=True))

    def _give_back(self, group: int, blocks: Sequence[int]) -> None:
        self.pools[group].give_back(blocks)
        self._held_bytes -= len(blocks) * self._block_bytes[group]
