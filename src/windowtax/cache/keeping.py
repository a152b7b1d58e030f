"""Kept blocks and the pool: where they lie, who reads them, and which go when room is needed.

A kept block of the index stands for one block per layer group (`CachedBlock.place`). A sequence holds a reference on
every kept block of its chain; the blocks behind them belong to the index, all others in its tables to the sequence
alone.

What a window leaves behind stays too while there is room ("idle": in nobody's table), so that another sequence can
branch off in the middle; when blocks are needed, the ones that were left first go first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.manager import CacheManager
from windowtax.cache.offload import OffloadSpace
from windowtax.cache.prefix import PrefixIndex
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout

_NO_LIMIT = 2**62

_REMEMBERED = 65_536
"""Names of evicted blocks that are remembered, to say why a prefix missed."""

Place = list[int | None]
"""Per layer group, the pool block of a kept block; None where it was given back (idle, and needed). Of a group of
states: the checkpoint of the states behind its last token, where there is one."""


@dataclass(frozen=True, slots=True)
class Root:
    """What first blocks continue: all that their names depend on beside tokens."""

    fingerprint: bytes


@dataclass(slots=True)
class Chain:
    """The names of a sequence's whole blocks, and how many of the first are in the index.

    token_ids: its tokens, of which the first num_computed are in its blocks. has_states: whether its states, where it
    has any, are those behind them: not before its first step. wanted: behind how many blocks a checkpoint of the states
    is to be made; num_checked: behind how many the last one was. planned: those that the next step writes, by position,
    with their blocks by group.
    """

    fingerprint: bytes
    keys: list[bytes] = field(default_factory=list[bytes])
    num_kept: int = 0
    token_ids: Sequence[int] = ()
    num_computed: int = 0
    has_states: bool = False
    wanted: set[int] = field(default_factory=set[int])
    num_checked: int = 0
    planned: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])


class KeepingCache(CacheManager):
    """A cache manager with a prefix index, which its subclass fills.

    fingerprint: of everything that the bytes depend on beside tokens and salt: model, dtype, RoPE, attention. policy: a
    name of cache/eviction. evicted: names of blocks that went for want of room, the latest ones.
    """

    def __init__(
        self,
        layout: CacheLayout,
        num_blocks: Sequence[int],
        fingerprint: bytes,
        policy: str,
        space: OffloadSpace | None,
    ) -> None:
        super().__init__(layout, num_blocks, space)
        self.index = PrefixIndex(_NO_LIMIT, policy)
        self.num_evicted = 0
        self.evicted: dict[bytes, None] = {}
        # Names of first blocks, and under which fingerprint they were filed: tenants hear of their own only.
        self._roots: dict[bytes, bytes] = {}
        # What continues a block, or begins so: names, by the first token.
        self._after: dict[bytes | Root, dict[int, dict[bytes, None]]] = {}
        self._fingerprint = fingerprint
        self._chains: dict[str, Chain] = {}
        self._rows = [not group.cache.is_state for group in layout.groups]
        # Groups of states that have checkpoints: what waits in a workspace is written anew by whoever goes on.
        self._states = [
            index for index, group in enumerate(layout.groups) if group.cache.is_state and not group.cache.workspace
        ]
        # Of groups with windows: in how many tables a kept block is, and the kept blocks that are in none. Checkpoints
        # of states are in none.
        self._users: dict[tuple[int, int], int] = {}
        self._idle: list[dict[int, CachedBlock]] = [{} for _ in layout.groups]

    @property
    def can_share(self) -> bool:
        """Whether prefixes can be used again: not where blocks differ in length."""
        size = self.layout.block_size
        return all(group.cache.is_state or group.cache.block_tokens(size) == size for group in self.layout.groups)

    @property
    def num_checkpoints(self) -> int:
        """Blocks with checkpoints of states."""
        return sum(len(self._idle[group]) for group in self._states)

    @property
    def kept_bytes(self) -> int:
        """Bytes of blocks that are kept and that nobody uses: room for others when it is needed."""
        return sum(self._bytes_of(block) for block in self.index.unused())

    def followers(self, key: bytes | None, salt: str) -> list[CachedBlock]:
        """The whole blocks that continue this one; without one, the first blocks of this tenant's prefixes."""
        after = self._after.get(Root(self._salted(salt)) if key is None else key, {})
        found = [self._kept(name) for names in after.values() for name in names]
        return [block for block in found if len(block.content) == self.layout.block_size]

    def usable(self, keys: Sequence[bytes], *, states: bool = True) -> int:
        """How many of these blocks a sequence can begin with: kept without a gap, with all that windows still read, and
        with the states behind them unless these come from elsewhere."""
        count = self.index.match(keys)
        groups = [group for group in range(len(self.pools)) if states or group not in self._states]
        while count and not all(self._reaches(group, keys, count) for group in groups):
            count -= 1
        return count

    def _file(self, group: int, table: BlockTable, depth: int, place: Place) -> None:
        """Makes a sequence's block the kept one; where one with the same content is kept already, that one is taken."""
        mine = table.blocks[depth - table.first]
        kept = place[group]
        if kept is None:
            kept = place[group] = mine
        elif kept != mine:
            table.blocks[depth - table.first] = kept
            self._give_back(group, [mine])
        if group in self._trimmed:
            self._use(group, kept)

    def trim(self, sequence_id: str, num_computed: int) -> None:
        # A later sequence goes on from the last whole block, so what is read from there on stays: up to a block more.
        size = self.layout.block_size
        whole = num_computed // size * size
        for group in self._trimmed:
            table = self._tables[sequence_id][group]
            first, _ = self.layout.held_range(group, whole, 1)
            if first > table.first:
                begin = table.first
                self._leave(sequence_id, group, begin, table.drop_before(first))

    def forget(self) -> int:
        """Gives back every kept block that nobody uses; returns how many those were."""
        count = 0
        while self._evict_one():
            count += 1
        return count

    def check(self) -> None:
        """Raises RuntimeError where tables, index and pools disagree."""
        self.index.check()
        for group, pool in enumerate(self.pools):
            pool.check()
            kept = [block for node in self.index.blocks() if (block := self._place(node)[group]) is not None]
            own = [
                block
                for sequence_id, tables in self._tables.items()
                for block in self._own(sequence_id, group, tables[group].first, tables[group].blocks)[0]
            ]
            own += [
                blocks[group] for one in self._chains.values() for blocks in one.planned.values() if group in blocks
            ]
            if len(set(kept) | set(own)) != len(kept) + len(own) or len(kept) + len(own) != pool.num_held:
                raise RuntimeError(f"group {group}: the tables, the prefix index and the pool disagree")
            if group in self._trimmed:
                used = {block for tables in self._tables.values() for block in tables[group].blocks}
                if set(self._idle[group]) != set(kept) - used:
                    raise RuntimeError(f"group {group}: idle blocks are miscounted")
        if self._held_bytes != self.layout.pool_bytes([pool.num_held for pool in self.pools]):
            raise RuntimeError("the held bytes and the pools disagree")

    def _make_free(self, missing: Iterable[int]) -> bool:
        wanted = list(missing)
        for group, count in enumerate(wanted):
            while self.pools[group].num_free < count and self._idle[group]:
                self._drop_idle(group)
        while not super()._make_free(wanted):
            if not self._evict_one():
                return False
        return True

    def _drop_idle(self, group: int) -> None:
        block, node = next(iter(self._idle[group].items()))
        del self._idle[group][block]
        self._place(node)[group] = None
        self._lose(group, block, node)

    def _evict_one(self) -> bool:
        gone = self.index.evict()
        if gone is None:
            return False
        self.num_evicted += 1
        self.evicted[cast(bytes, gone.key)] = None
        self._forget_name(gone)
        if len(self.evicted) > _REMEMBERED:
            del self.evicted[next(iter(self.evicted))]
        for group, block in enumerate(self._place(gone)):
            if block is not None:
                self._idle[group].pop(block, None)
                self._lose(group, block, gone)
        return True

    def _note_name(self, node: CachedBlock) -> None:
        after = self._after.setdefault(self._before(node), {})
        after.setdefault(node.content[0], {})[cast(bytes, node.key)] = None

    def _forget_name(self, node: CachedBlock) -> None:
        before, first = self._before(node), node.content[0]
        names = self._after[before][first]
        del names[cast(bytes, node.key)]
        if not names:
            del self._after[before][first]
        if not self._after[before]:
            del self._after[before]
        self._roots.pop(cast(bytes, node.key), None)

    def _lose(self, group: int, block: int, node: CachedBlock) -> None:
        """Gives back a block of a kept one; a sequence in host RAM may still need what is in it."""
        if self.space is not None:
            self.space.catch(cast(bytes, node.key), group, block)
        self._give_back(group, [block])

    def _before(self, node: CachedBlock) -> "bytes | Root":
        """What a kept block continues."""
        return Root(self._roots[cast(bytes, node.key)]) if node.parent is None else cast(bytes, node.parent.key)

    def _use(self, group: int, block: int) -> None:
        self._users[group, block] = self._users.get((group, block), 0) + 1
        self._idle[group].pop(block, None)

    def _leave(self, sequence_id: str, group: int, first: int, blocks: Sequence[int]) -> None:
        """Takes blocks out of a table: the sequence's own are free again, kept ones of windows may become idle."""
        own, kept = self._own(sequence_id, group, first, blocks)
        self._give_back(group, own)
        if group not in self._trimmed:
            return
        for block, node in kept:
            self._users[group, block] -= 1
            if not self._users[group, block]:
                del self._users[group, block]
                self._idle[group][block] = node

    def _own(
        self, sequence_id: str, group: int, first: int, blocks: Sequence[int]
    ) -> tuple[list[int], list[tuple[int, CachedBlock]]]:
        """A table's blocks: the sequence's own, and those of the index with what they belong to."""
        chain = self._chains.get(sequence_id)
        num_kept = 0 if chain is None or not self._rows[group] else chain.num_kept
        own: list[int] = []
        kept: list[tuple[int, CachedBlock]] = []
        for depth, block in enumerate(blocks, first):
            node = self._kept(chain.keys[depth]) if depth < num_kept and chain is not None else None
            if node is not None and self._place(node)[group] == block:
                kept.append((block, node))
            else:
                own.append(block)
        return own, kept

    def _reaches(self, group: int, keys: Sequence[bytes], count: int) -> bool:
        """Whether everything that a group still reads behind so many blocks is kept."""
        if group in self._states:
            return self._place(self._kept(keys[count - 1]))[group] is not None
        if not self._rows[group]:
            return True
        first, end = self.layout.held_range(group, count * self.layout.block_size, 1)
        return all(self._place(self._kept(keys[i]))[group] is not None for i in range(first, min(end, count)))

    def _kept(self, key: bytes) -> CachedBlock:
        block = self.index.get(key)
        assert block is not None, "a block of a held chain is always kept"
        return block

    def _place(self, block: CachedBlock) -> Place:
        return cast(Place, block.place)

    def _bytes_of(self, block: CachedBlock) -> int:
        place = self._place(block)
        return sum(size for size, held in zip(self._block_bytes, place, strict=True) if held is not None)

    def _salted(self, salt: str) -> bytes:
        return len(self._fingerprint).to_bytes(4, "little") + self._fingerprint + salt.encode()
