"""The cache manager that keeps prefixes: whole blocks are named by their content, shared by the sequences that begin
alike, and stay when nobody uses them, until somebody needs the room.

A kept block of the index stands for one block per layer group (`CachedBlock.place`). A sequence holds a reference on
every kept block of its chain; the blocks behind them belong to the index, all others in its tables to the sequence
alone. Only whole blocks are ever shared, and a sequence writes behind them only, so nothing shared is written again.

What a window leaves behind stays too while there is room ("idle": in nobody's table), so that another sequence can
branch off in the middle; when blocks are needed, the ones that were left first go first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.manager import CacheManager
from windowtax.cache.prefix import PrefixIndex, block_keys
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout

_NO_LIMIT = 2**62

_REMEMBERED = 65_536
"""Names of evicted blocks that are remembered, to say why a prefix missed."""

Place = list[int | None]
"""Per layer group, the pool block of a kept block; None where it was given back (idle, and needed) or is no row of
tokens."""


@dataclass(slots=True)
class Chain:
    """The names of a sequence's whole blocks, and how many of the first are in the index."""

    fingerprint: bytes
    keys: list[bytes] = field(default_factory=list[bytes])
    num_kept: int = 0


class SharedCache(CacheManager):
    """A cache manager with a prefix index.

    fingerprint: of everything that the bytes depend on beside tokens and salt: model, dtype, RoPE, attention. policy: a
    name of cache/eviction. evicted: names of blocks that went for want of room, the latest ones.
    """

    def __init__(
        self, layout: CacheLayout, num_blocks: Sequence[int], *, fingerprint: bytes = b"", policy: str = "lru"
    ) -> None:
        super().__init__(layout, num_blocks)
        self.index = PrefixIndex(_NO_LIMIT, policy)
        self.num_evicted = 0
        self.evicted: dict[bytes, None] = {}
        # Names of first blocks, and under which fingerprint they were filed: tenants hear of their own only.
        self._roots: dict[bytes, bytes] = {}
        self._fingerprint = fingerprint
        self._chains: dict[str, Chain] = {}
        self._wanted: dict[str, list[bytes]] = {}  # by waiting sequence, the names of what it could begin with
        self._rows = [not group.cache.is_state for group in layout.groups]
        # Of groups with windows: in how many tables a kept block is, and the kept blocks that are in none.
        self._users: dict[tuple[int, int], int] = {}
        self._idle: list[dict[int, CachedBlock]] = [{} for _ in layout.groups]

    @property
    def can_share(self) -> bool:
        """Whether prefixes can be used again: not where a layer folds tokens into a state, or blocks differ in
        length."""
        size = self.layout.block_size
        return all(
            group.cache.workspace if group.cache.is_state else group.cache.block_tokens(size) == size
            for group in self.layout.groups
        )

    @property
    def kept_bytes(self) -> int:
        """Bytes of blocks that are kept and that nobody uses: room for others when it is needed."""
        return sum(self._bytes_of(block) for block in self.index.unused())

    def keys_of(self, token_ids: Sequence[int], salt: str) -> list[bytes]:
        """The names of a prompt's whole blocks. salt: of the tenant; equal prompts under other salts have other
        names."""
        return block_keys(token_ids, self.layout.block_size, self._salted(salt))

    def ready(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> bool:
        """False while another sequence computes blocks that this one begins with: equal prompts that come together are
        computed once."""
        if not self.can_share:
            return True
        keys = self._wanted.get(sequence_id)
        if keys is None:
            keys = self._wanted[sequence_id] = self.reusable_keys(token_ids, salt)
        matched = self.index.match(keys)
        return matched == len(keys) or not any(
            chain.num_kept <= matched < len(chain.keys) and chain.keys[matched] == keys[matched]
            for other, chain in self._chains.items()
            if other != sequence_id and other in self._tables
        )

    def reusable_keys(self, token_ids: Sequence[int], salt: str) -> list[bytes]:
        """The names of the blocks that a prompt can take from the cache: one token at least is left to compute."""
        return self.keys_of(token_ids[: len(token_ids) - 1], salt)

    def attach(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        """Gives a new sequence the kept blocks of its prefix; returns how many tokens these hold.

        At least one token is left to compute: its logits are not kept.
        """
        if not self.can_share:
            return 0
        chain = Chain(self._salted(salt), self.keys_of(token_ids, salt))
        self._chains[sequence_id] = chain
        self._wanted.pop(sequence_id, None)
        size = self.layout.block_size
        count = self.usable(chain.keys[: (len(token_ids) - 1) // size])
        if count:
            self.index.acquire(chain.keys[:count])
            chain.num_kept = count
            tables = [self._shared_table(group, chain.keys, count) for group in range(len(self.pools))]
            self._tables[sequence_id] = tables
            for group in self._trimmed:
                for block in tables[group].blocks:
                    self._use(group, block)
            self._covered[sequence_id] = count * size
        return count * size

    def followers(self, key: bytes | None, salt: str) -> list[CachedBlock]:
        """The kept blocks that continue this one; without one, the first blocks of this tenant's prefixes."""
        if key is None:
            mine = self._salted(salt)
            return [self._kept(root) for root, fingerprint in self._roots.items() if fingerprint == mine]
        parent = self.index.get(key)
        return [block for block in self.index.blocks() if block.parent is parent and block.depth]

    def usable(self, keys: Sequence[bytes]) -> int:
        """How many of these blocks a sequence can begin with: kept without a gap, and with all that windows still
        read."""
        count = self.index.match(keys)
        while count and not all(self._reaches(group, keys, count) for group in range(len(self.pools))):
            count -= 1
        return count

    def completed(self, sequence_id: str, token_ids: Sequence[int], num_computed: int) -> None:
        chain = self._chains.get(sequence_id)
        size = self.layout.block_size
        whole = num_computed // size
        if chain is None or whole <= chain.num_kept:
            return
        if len(chain.keys) < whole:  # the answer has grown by a block
            chain.keys = block_keys(token_ids[: whole * size], size, chain.fingerprint, chain.keys)
        tables = self._tables[sequence_id]
        for depth in range(chain.num_kept, whole):
            self.index.insert(chain.keys, depth, depth + 1)
            block = self._kept(chain.keys[depth])
            if block.place is None:
                block.place = [None] * len(self.pools)
            block.content = tuple(token_ids[depth * size : (depth + 1) * size])
            self.evicted.pop(chain.keys[depth], None)
            if not depth:
                self._roots[chain.keys[0]] = chain.fingerprint
            for group, table in enumerate(tables):
                if self._rows[group] and table.first <= depth < table.end:
                    self._file(group, table, depth, self._place(block))
        chain.num_kept = whole

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

    def free(self, sequence_id: str) -> None:
        self._covered.pop(sequence_id, None)
        self._wanted.pop(sequence_id, None)
        for group, table in enumerate(self._tables.pop(sequence_id, [])):
            self._leave(sequence_id, group, table.first, table.blocks)
        chain = self._chains.pop(sequence_id, None)
        if chain is not None:
            self.index.release(chain.keys, chain.num_kept)

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
            if len(set(kept) | set(own)) != len(kept) + len(own) or len(kept) + len(own) != pool.num_held:
                raise RuntimeError(f"group {group}: the tables, the prefix index and the pool disagree")
            if group in self._trimmed and self._rows[group]:
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
        self._give_back(group, [block])

    def _evict_one(self) -> bool:
        gone = self.index.evict()
        if gone is None:
            return False
        self.num_evicted += 1
        self.evicted[cast(bytes, gone.key)] = None
        self._roots.pop(cast(bytes, gone.key), None)
        if len(self.evicted) > _REMEMBERED:
            del self.evicted[next(iter(self.evicted))]
        for group, block in enumerate(self._place(gone)):
            if block is not None:
                self._idle[group].pop(block, None)
                self._give_back(group, [block])
        return True

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
        if not self._rows[group]:
            return True
        first, end = self.layout.held_range(group, count * self.layout.block_size, 1)
        return all(self._place(self._kept(keys[i]))[group] is not None for i in range(first, min(end, count)))

    def _shared_table(self, group: int, keys: Sequence[bytes], count: int) -> BlockTable:
        table = BlockTable()
        if self._rows[group]:
            first, end = self.layout.held_range(group, count * self.layout.block_size, 1)
            table.first = first
            table.blocks = [cast(int, self._place(self._kept(key))[group]) for key in keys[first : min(end, count)]]
        return table

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
