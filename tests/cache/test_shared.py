"""Law 6 for the cache that keeps prefixes: no leak, no double free, no block with two contents, whatever happens."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.cache.memory import Memory, name_of, space_of

from windowtax.cache.shared import SharedCache
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.spec.planes import Growth, Plane

SIZE = 4
PLANES = CACHE_DTYPES["bf16"].vector_planes("k", 1, 8)
TAIL = LayerCache((Plane("tail", (8,), "bf16", 16, Growth.PER_SEQUENCE),), workspace=True)
STATE = LayerCache((Plane("state", (32,), "fp32", 32, Growth.PER_SEQUENCE),))  # as many bytes as two blocks of rows
LAYOUTS = {
    "full": CacheLayout.of([LayerCache(PLANES)], SIZE),
    "full and a window": CacheLayout.of([LayerCache(PLANES), LayerCache(PLANES, window=6)], SIZE),
    "sinks, a window and a tail": CacheLayout.of(
        [(LayerCache(PLANES, keep_first=3), LayerCache(PLANES, window=5, skip_first=3)), (LayerCache(PLANES), TAIL)],
        SIZE,
    ),
    "full and states": CacheLayout.of([LayerCache(PLANES), STATE], SIZE),
}


def cache_of(layout: CacheLayout, blocks: int = 60) -> SharedCache:
    return SharedCache(layout, [blocks] * len(layout.groups))


def compute(cache: SharedCache, name: str, tokens: list[int], start: int) -> None:
    assert cache.reserve(name, start, len(tokens) - start)
    cache.completed(name, tokens, len(tokens))
    cache.trim(name, len(tokens))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_prompt_that_goes_on_finds_all_its_whole_blocks(layout: CacheLayout) -> None:
    cache = cache_of(layout)
    tokens = list(range(21))
    assert cache.attach("a", tokens, "") == 0
    compute(cache, "a", tokens, 0)
    cache.free("a")
    assert cache.attach("b", [*tokens, 1, 2], "") == 20
    compute(cache, "b", [*tokens, 1, 2], 20)
    cache.check()
    cache.free("b")
    assert cache.forget() > 0
    assert cache.held_bytes == 0


def test_a_full_hit_leaves_a_token_to_compute() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(16))
    cache.attach("a", tokens, "")
    compute(cache, "a", tokens, 0)
    assert cache.attach("b", tokens, "") == 12


def test_tenants_do_not_share() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(17))
    cache.attach("a", tokens, "one")
    compute(cache, "a", tokens, 0)
    assert cache.attach("b", tokens, "other") == 0
    assert cache.attach("c", tokens, "one") == 16
    assert set(cache.keys_of(tokens, "one")).isdisjoint(cache.keys_of(tokens, "other"))


def test_running_sequences_share_blocks() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(17))
    cache.attach("a", tokens, "")
    compute(cache, "a", tokens, 0)
    cache.attach("b", tokens, "")
    compute(cache, "b", tokens, 16)
    one, other = (cache.tables(name)[0].blocks for name in "ab")
    assert one[:4] == other[:4] and one[4] != other[4]


def test_what_nobody_uses_makes_room() -> None:
    cache = cache_of(LAYOUTS["full"], blocks=5)
    cache.attach("a", list(range(16)), "")
    compute(cache, "a", list(range(16)), 0)
    cache.free("a")
    other = list(range(100, 120))
    assert cache.attach("b", other, "") == 0
    compute(cache, "b", other, 0)
    assert cache.num_evicted == 4
    cache.check()


def states_of(cache: SharedCache) -> int:
    cache.check()
    return cache.num_checkpoints


def test_checkpoints_lie_at_a_prompts_end_and_as_far_apart_as_they_are_large() -> None:
    cache = cache_of(LAYOUTS["full and states"])
    assert cache.layout.checkpoint_blocks == 2
    tokens = list(range(29))
    cache.attach("a", tokens, "")
    compute(cache, "a", tokens, 0)
    assert states_of(cache) == 4  # behind 8, 16, 24 and, which is the same, 28 of 29
    found = [cache.attach(f"b{n}", [*tokens[:n], 99, 98], "") for n in (7, 8, 15, 16, 23, 28, 29)]
    assert found == [0, 8, 8, 16, 16, 28, 28]


def test_a_prompt_leaves_a_checkpoint_where_it_leaves_another() -> None:
    cache = cache_of(LAYOUTS["full and states"])
    for name, found in (("a", 0), ("b", 8), ("c", 12)):
        prompt = [*range(14), *(ord(name) for _ in range(5))]
        assert cache.attach(name, prompt, "") == found
        compute(cache, name, prompt, found)


def test_who_waits_for_a_prefix_finds_a_checkpoint_where_they_part() -> None:
    cache = cache_of(LAYOUTS["full and states"])
    one, other = [*range(12), 50, 51, 52, 53], [*range(12), 60, 61]
    cache.attach("a", one, "")
    compute(cache, "a", one[:5], 0)
    assert not cache.ready("b", other, "")
    compute(cache, "a", one, 5)
    assert cache.ready("b", other, "") and cache.attach("b", other, "") == 12


def test_checkpoints_give_way_and_the_last_one_is_taken_itself() -> None:
    layout = LAYOUTS["full and states"]
    cache = SharedCache(layout, [60, 2])
    memory = Memory(SIZE)
    cache.bind(memory)
    for first in (0, 100, 200):
        tokens = list(range(first, first + 9))
        assert cache.attach(str(first), tokens, "") == 0
        compute(cache, str(first), tokens, 0)
        cache.free(str(first))
        assert states_of(cache) <= 2
    assert cache.attach("again", [*range(200, 209), 1], "") == 9, "the newest states are there"
    assert cache.attach("old", [*range(9), 1], "") == 0
    assert cache.reserve("old", 0, 10), "the other one gave way"
    assert states_of(cache) == 0 and not cache.reserve("third", 0, 1)


class Traffic(RuleBasedStateMachine):
    """Conversations from a small alphabet, so that prefixes collide, in a pool that is often too small.

    The memory is what the model of the test wrote into each block: every token that a sequence reads must be there,
    also where its block was copied from another's, or the sequence was moved to host RAM meanwhile.
    """

    layout = LAYOUTS["full and a window"]
    host_bytes = 600

    def __init__(self) -> None:
        super().__init__()
        self.space, self.room = space_of(self.layout, self.host_bytes)
        self.cache = SharedCache(self.layout, [14] * len(self.layout.groups), space=self.space)
        self.memory = Memory(SIZE)
        self.cache.bind(self.memory)
        self.live: dict[str, tuple[list[int], int]] = {}
        self.away: dict[str, tuple[list[int], int]] = {}
        self.states: dict[str, dict[int, object]] = {}
        self.count = 0

    @rule(choices=st.lists(st.integers(0, 1), min_size=1, max_size=30))
    def begin(self, choices: list[int]) -> None:
        name = f"s{self.count}"
        self.count += 1
        cached = self.cache.attach(name, choices, "")
        assert cached < len(choices)
        self.live[name] = (choices, cached)
        self._read(name, cached)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99), new=st.integers(1, 9), more=st.lists(st.integers(0, 1), max_size=3))
    def compute(self, pick: int, new: int, more: list[int]) -> None:
        name = sorted(self.live)[pick % len(self.live)]
        tokens, done = self.live[name]
        tokens = tokens + more
        end = min(len(tokens), done + new)
        if end == done or not self.cache.reserve(name, done, end - done):
            return
        for position, blocks in self.cache.checkpoints(name).items():
            assert done < position
            for group, block in blocks.items() if position <= end else ():
                self.memory.at(group, block)[0] = name_of(tokens[:position])
        for group, table in enumerate(self.cache.tables(name)):
            if self.layout.groups[group].cache.is_state:
                self.memory.at(group, table.blocks[0])[0] = name_of(tokens[:end])
                continue
            for position in range(max(done, table.first * SIZE), min(end, table.end * SIZE)):
                rows = self.memory.at(group, table.blocks[position // SIZE - table.first])
                rows[position % SIZE] = name_of(tokens[: position + 1])
        self.cache.completed(name, tokens, end)
        self.cache.trim(name, end)
        self.live[name] = (tokens, end)
        self._read(name, end)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def end(self, pick: int) -> None:
        name = sorted(self.live)[pick % len(self.live)]
        del self.live[name]
        self.cache.end(name)

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 99))
    def offload(self, pick: int) -> None:
        name = sorted(self.live)[pick % len(self.live)]
        held, self.states[name] = self.cache.held_bytes_of(name), self._states(name)
        if self.cache.offload(name, self.live[name][1]):
            self.away[name] = self.live.pop(name)
            assert self.cache.held_bytes_of(name) == 0 < held
        else:
            assert self.cache.held_bytes_of(name) == held

    @precondition(lambda self: self.away)
    @rule(pick=st.integers(0, 99), new=st.integers(0, 9))
    def promote(self, pick: int, new: int) -> None:
        name = sorted(self.away)[pick % len(self.away)]
        tokens, done = self.away[name]
        if self.cache.promote(name, tokens, "", min(new, len(tokens) - done)) is None:
            assert self.cache.held_bytes_of(name) == 0 and name in self.space
            return
        self.live[name] = self.away.pop(name)
        assert name not in self.space
        self._read(name, done)
        assert self.states[name].items() <= self._states(name).items()

    @precondition(lambda self: self.away)
    @rule(pick=st.integers(0, 99))
    def give_up(self, pick: int) -> None:
        name = sorted(self.away)[pick % len(self.away)]
        del self.away[name]
        self.cache.end(name)

    @rule()
    def forget(self) -> None:
        self.cache.forget()

    def _states(self, name: str) -> dict[int, object]:
        groups = [group for group, one in enumerate(self.layout.groups) if one.cache.is_state]
        tables = self.cache.tables(name) if groups and self.cache.held_bytes_of(name) else []
        return {
            group: self.memory.at(group, tables[group].blocks[0])[0]
            for group in groups
            if tables and tables[group].blocks
        }

    def _read(self, name: str, done: int) -> None:
        """Everything that the next token reads is in the sequence's blocks."""
        tokens, _ = self.live[name]
        for group, table in enumerate(self.cache.tables(name) if done else []):
            cache = self.layout.groups[group].cache
            if cache.is_state and not cache.workspace:
                assert self.memory.at(group, table.blocks[0])[0] == name_of(tokens[:done])
            if cache.is_state:
                continue
            for position in range(cache.first_needed(done), min(done, cache.keep_first or done)):
                block = table.blocks[position // SIZE - table.first]
                assert self.memory.at(group, block)[position % SIZE] == name_of(tokens[: position + 1])

    @invariant()
    def books_agree(self) -> None:
        self.cache.check()
        assert self.space.held_bytes == self.host_bytes - self.room.budget_bytes
        assert self.away or self.space.held_bytes == 0


class SinksTraffic(Traffic):
    layout = LAYOUTS["sinks, a window and a tail"]
    host_bytes = 2000


class WindowsTraffic(Traffic):
    layout = CacheLayout.of([LayerCache(PLANES, window=6), LayerCache(PLANES, window=9)], SIZE)
    host_bytes = 10_000


class StatesTraffic(Traffic):
    layout = LAYOUTS["full and states"]
    host_bytes = 2000


class StatesAndWindowsTraffic(Traffic):
    layout = CacheLayout.of([LayerCache(PLANES), LayerCache(PLANES, window=6), STATE, (LayerCache(PLANES), TAIL)], SIZE)
    host_bytes = 4000


SETTINGS = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
TestTraffic.settings = SETTINGS
TestSinksTraffic = SinksTraffic.TestCase
TestSinksTraffic.settings = SETTINGS
TestWindowsTraffic = WindowsTraffic.TestCase
TestWindowsTraffic.settings = SETTINGS
TestStatesTraffic = StatesTraffic.TestCase
TestStatesTraffic.settings = SETTINGS
TestStatesAndWindowsTraffic = StatesAndWindowsTraffic.TestCase
TestStatesAndWindowsTraffic.settings = SETTINGS


def test_equal_prompts_that_come_together_are_computed_once() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(17))
    assert cache.ready("a", tokens, "")
    cache.attach("a", tokens, "")
    assert cache.reserve("a", 0, 8)
    assert not cache.ready("b", tokens, ""), "a is about to compute what b begins with"
    assert cache.ready("c", tokens, "someone else")
    assert cache.ready("d", [9, *tokens], "")
    cache.completed("a", tokens, 8)
    assert not cache.ready("b", tokens, "")
    assert cache.ready("e", [*tokens[:8], 99, 98, 97, 96, 95], ""), "all that e shares is there"
    assert cache.reserve("a", 8, 9)
    cache.completed("a", tokens, 17)
    assert cache.ready("b", tokens, "") and cache.attach("b", tokens, "") == 16


def test_nobody_waits_for_a_sequence_that_is_gone() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(17))
    cache.attach("a", tokens, "")
    assert cache.reserve("a", 0, 8)
    assert not cache.ready("b", tokens, "")
    cache.free("a")
    assert cache.ready("b", tokens, "")
