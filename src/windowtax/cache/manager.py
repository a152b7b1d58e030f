"""The cache manager: gives sequences the blocks that their next tokens need, and takes back what no query will read.

How many blocks that is comes from the CacheLayout; this file only keeps the books.
"""

from collections.abc import Iterable, Mapping, Sequence

from windowtax.cache.blocks import BlockBytes, BlockPool
from windowtax.cache.offload import Offloaded, OffloadSpace
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout


class CacheManager:
    """Block pools of all layer groups, and the tables of all sequences that hold blocks.

    space: where preempted sequences may wait; None: they are always computed again.
    """

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int], space: OffloadSpace | None = None) -> None:
        self.layout = layout
        self.space = space
        self.pools = [BlockPool(count) for count in num_blocks]
        # Groups that give blocks back before a sequence ends: those whose layers do not keep everything.
        self._trimmed = [group for group in range(len(layout.groups)) if not layout.groups[group].cache.grows]
        self._tables: dict[str, list[BlockTable]] = {}
        # Blocks of every group end at multiples of the block size, unless a group begins inside a block.
        self._aligned = all(group.cache.skip_first % layout.block_size == 0 for group in layout.groups)
        self._covered: dict[str, int] = {}
        self._block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
        self._held_bytes = self._peak_bytes = 0

    def bind(self, store: BlockBytes) -> None:
        """Says where the blocks' bytes are. Before this, nothing moves."""
        if self.space is not None:
            self.space.bind(store)

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
        for group, table in enumerate(tables):
            if not table.blocks:
                table.first = self.layout.held_range(group, num_computed, num_new)[0]
        self._grow(tables, missing)
        self._cover(sequence_id, end)
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

    def offload(self, sequence_id: str, num_computed: int) -> bool:
        """Moves what a sequence has computed to host RAM, where that is cheaper than computing it again, and gives its
        blocks back. False, and nothing has changed, where it is not, or there is no room."""
        if self.space is None or not num_computed:
            return False
        if not self.space.add(sequence_id, self._to_offload(sequence_id, num_computed)):
            return False
        self.free(sequence_id)
        return True

    def promote(self, sequence_id: str, token_ids: Sequence[int], salt: str, num_new: int) -> int | None:
        """Brings an offloaded sequence back, with blocks for `num_new` tokens more; returns the bytes copied for it.

        None, and nothing has changed, where a pool has too few blocks.
        """
        assert self.space is not None
        away = self.space.get(sequence_id)
        tables = self._tables[sequence_id] = self._tables_again(sequence_id, away, salt)
        ends = [self.layout.held_range(group, away.num_computed, num_new)[1] for group in range(len(tables))]
        shared = [table.end for table in tables]
        missing = [max(0, max(end, away.spans[g][1]) - shared[g]) for g, end in enumerate(ends)]
        if not self._make_free(missing):
            self.free(sequence_id)
            return None
        self._grow(tables, missing)
        self._cover(sequence_id, away.num_computed + num_new)
        before = self.space.loaded_bytes
        for group, (_, end) in enumerate(away.spans):
            for depth in range(shared[group], end):
                found = self.space.fetch(away, (group, depth), tables[group].blocks[depth - tables[group].first])
                self._settle(sequence_id, group, depth, found=found)
        self.completed(sequence_id, token_ids, away.num_computed)
        self.space.drop(sequence_id)
        return self.space.loaded_bytes - before

    def end(self, sequence_id: str) -> None:
        """Gives back everything that a sequence holds, in the pool and in host RAM: it will not go on."""
        self.free(sequence_id)
        if self.space is not None:
            self.space.drop(sequence_id)

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
        """Tells how long prompts take to compute: what moving blocks is weighed against."""
        if self.space is not None:
            self.space.speeds.prefill.book(num_tokens, seconds)

    def close(self) -> None:
        """Ends what runs beside the engine."""

    def attach(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        """Gives a new sequence what is kept of its prefix; returns how many tokens need not be computed. Here: none."""
        return 0

    def completed(self, sequence_id: str, token_ids: Sequence[int], num_computed: int) -> None:
        """Tells that so many tokens of the sequence are computed, and in its blocks."""

    def checkpoints(self, sequence_id: str) -> Mapping[int, Mapping[int, int]]:
        """Behind which positions of its reserved tokens the states of a sequence are to be written once more, and into
        which block of each group. Here: none."""
        return {}

    def _to_offload(self, sequence_id: str, num_computed: int) -> Offloaded:
        """What would have to be moved: here all of it."""
        spans = self._spans(sequence_id, num_computed)
        blocks = {
            (group, depth): table.blocks[depth - table.first]
            for group, table in enumerate(self._tables[sequence_id])
            for depth in range(*spans[group])
        }
        num_bytes = sum(self._block_bytes[group] for group, _ in blocks)
        return Offloaded(num_computed, spans, blocks, private_bytes=num_bytes, private_tokens=num_computed)

    def _spans(self, sequence_id: str, num_computed: int) -> list[tuple[int, int]]:
        """Per group, first and past-the-last index of the blocks that hold what a sequence has computed."""
        ends = [self.layout.held_range(group, num_computed, 0)[1] for group in range(len(self.pools))]
        tables = self._tables[sequence_id]
        return [(table.first, max(table.first, min(table.end, end))) for table, end in zip(tables, ends, strict=True)]

    def _tables_again(self, sequence_id: str, away: Offloaded, salt: str) -> list[BlockTable]:
        """Tables for a sequence that comes back, with what of it is still in the pool: here nothing."""
        tables = [BlockTable() for _ in self.pools]
        for table, (first, _) in zip(tables, away.spans, strict=True):
            table.first = first
        return tables

    def _settle(self, sequence_id: str, group: int, depth: int, *, found: bool) -> None:
        """Books a block of a sequence that comes back. found: whether its bytes were in host RAM."""
        if not found:
            raise RuntimeError("a block of an offloaded sequence is lost")

    def _grow(self, tables: Sequence[BlockTable], missing: Iterable[int]) -> None:
        """Adds so many blocks to each table; they must be free."""
        for group, count in enumerate(missing):
            if count:
                tables[group].blocks += self.pools[group].take(count, after=tables[group].last_block)
                self._held_bytes += count * self._block_bytes[group]
        self._peak_bytes = max(self._peak_bytes, self._held_bytes)

    def _cover(self, sequence_id: str, num_tokens: int) -> None:
        size = self.layout.block_size
        self._covered[sequence_id] = -(-num_tokens // size) * size if self._aligned else num_tokens

    def _make_free(self, missing: Iterable[int]) -> bool:
        """Whether each pool has so many free blocks."""
        return all(count <= pool.num_free for count, pool in zip(missing, self.pools, strict=True))

    def _give_back(self, group: int, blocks: Sequence[int]) -> None:
        self.pools[group].give_back(blocks)
        self._held_bytes -= len(blocks) * self._block_bytes[group]
