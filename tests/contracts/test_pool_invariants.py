"""Law 6: no leak, no double free, no block in two hands; the books agree with what the layout says must be held, and
what was moved to host RAM comes back as it was. (Kept and forked blocks: tests/cache/test_shared.py.)"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.cache.memory import Memory, space_of

from windowtax.cache.manager import CacheManager
from windowtax.cache.table import BlockTable
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype

PLANES = cache_dtype("bf16").vector_planes("k", 2, 8)
LAYOUT = CacheLayout.of(
    [LayerCache(PLANES), LayerCache(PLANES, window=13), LayerCache(PLANES, chunk=16), LayerCache(PLANES)], block_size=4
)


HOST_BYTES = LAYOUT.pool_bytes([9, 6, 6])


class Books(RuleBasedStateMachine):
    """Sequences grow by random steps, are trimmed and freed; the pools are too small for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.space, self.room = space_of(LAYOUT, HOST_BYTES)
        self.cache = CacheManager(LAYOUT, [12, 9, 10], self.space)
        self.memory = Memory(LAYOUT.block_size)
        self.cache.bind(self.memory)
        self.computed: dict[str, int] = {}
        self.away: dict[str, int] = {}
        self.born = 0

    @rule(num_new=st.integers(1, 24))
    def start(self, num_new: int) -> None:
        name = f"s{self.born}"
        self.born += 1
        if self.cache.reserve(name, 0, num_new):
            self._computed(name, num_new)
        else:
            self.cache.free(name)

    @precondition(lambda self: self.computed)
    @rule(data=st.data(), num_new=st.integers(1, 24))
    def grow(self, data: st.DataObject, num_new: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.computed)))
        before = self.cache.held_bytes
        if self.cache.reserve(name, self.computed[name], num_new):
            self._computed(name, self.computed[name] + num_new)
        else:
            assert self.cache.held_bytes == before, "a refused reservation must take nothing"

    @precondition(lambda self: self.computed)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.computed)))
        self.cache.free(name)
        del self.computed[name]

    @precondition(lambda self: self.computed)
    @rule(data=st.data())
    def offload(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.computed)))
        before = self.cache.held_bytes
        if self.cache.offload(name, self.computed[name]):
            self.away[name] = self.computed.pop(name)
            assert self.cache.held_bytes < before
        else:
            assert self.cache.held_bytes == before

    @precondition(lambda self: self.away)
    @rule(data=st.data(), num_new=st.integers(1, 24))
    def promote(self, data: st.DataObject, num_new: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.away)))
        before = self.cache.held_bytes
        if self.cache.promote(name, (), "", num_new) is None:
            assert self.cache.held_bytes == before
            return
        self.computed[name] = done = self.away.pop(name)
        for group, table in enumerate(self.cache.tables(name)):
            for position in range(
                max(table.first * LAYOUT.block_size, LAYOUT.groups[group].cache.first_needed(done)), done
            ):
                assert self._row(table, group, position) == [name, position]
        self._computed(name, done + num_new)

    @precondition(lambda self: self.away)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.away)))
        self.cache.end(name)
        del self.away[name]

    def _row(self, table: BlockTable, group: int, position: int) -> object:
        block = table.blocks[position // LAYOUT.block_size - table.first]
        return self.memory.at(group, block)[position % LAYOUT.block_size]

    def _computed(self, name: str, num_computed: int) -> None:
        start = self.computed.get(name, 0)
        for group, table in enumerate(self.cache.tables(name)):
            first, end = LAYOUT.held_range(group, start, num_computed - start)
            assert (table.first, table.end) == (first, end)
            slots = table.slots(start, num_computed - start, LAYOUT.block_size)
            assert len(set(slots)) == num_computed - start
            for position, slot in enumerate(slots, start):
                self.memory.at(group, slot // LAYOUT.block_size)[slot % LAYOUT.block_size] = [name, position]
        self.cache.trim(name, num_computed)
        self.computed[name] = num_computed

    @invariant()
    def books_agree(self) -> None:
        self.cache.check()
        assert self.cache.held_bytes + self.cache.free_bytes == LAYOUT.pool_bytes(self.cache.num_blocks)
        assert self.cache.held_bytes == sum(self.cache.held_bytes_of(name) for name in self.computed)
        assert self.space.held_bytes == HOST_BYTES - self.room.budget_bytes
        if not self.computed:
            assert self.cache.held_bytes == 0
        if not self.away:
            assert self.space.held_bytes == 0


Books.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase
