"""The prefix index: chained names, references, eviction from the ends of chains, and LRU sizes in one pass."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cache.eviction.base import EVICTION
from windowtax.cache.prefix import PrefixIndex, block_keys, keep_computed
from windowtax.cache.stack import LruSizes

# A small tree of prompts: a chain is a path from a root, and equal paths are equal prefixes.
paths = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def chain(path: list[int]) -> list[tuple[int, ...]]:
    return [tuple(path[: depth + 1]) for depth in range(len(path))]


def test_names_tell_prefixes_and_not_only_contents() -> None:
    one, other = block_keys([1, 2, 3, 4, 5, 6, 7], 2), block_keys([9, 9, 3, 4, 5, 6], 2)
    assert len(one) == len(other) == 3 and len({*one, *other}) == 6
    assert block_keys([1, 2, 3, 4, 0, 0], 2)[:2] == one[:2]
    assert block_keys([1, 2, 3, 4], 2, b"another model") != one[:2]
    assert block_keys([1], 2) == [] and block_keys([], 2) == []
    assert block_keys([1, 2**40], 2) != block_keys([1, 2**41], 2)


def test_the_least_recently_used_chain_goes_from_its_end() -> None:
    index = PrefixIndex(4)
    for text in ("ab", "xy"):
        keep_computed(index, [text[: end + 1] for end in range(2)])
    keep_computed(index, ["a", "ab"])
    index.insert(["q"], 0, 1)
    assert [block.key for block in index.release(["q"], 1)] == ["xy"]
    assert index.match(["x", "xy"]) == 1 and index.match(["a", "ab"]) == 2


def test_policies_differ_where_they_should() -> None:
    """a is old, often used; b is newer, used once but last."""
    kept: dict[str, str] = {}
    for policy in ("lru", "lfu", "fifo"):
        index = PrefixIndex(2, policy)
        for key in ("a", "a", "a", "b", "c"):
            keep_computed(index, [key])
        kept[policy] = "".join(key for key in "abc" if key in index)
    assert kept == {"lru": "bc", "lfu": "ac", "fifo": "bc"}
    index = PrefixIndex(2, "fifo")
    for key in ("a", "b", "a", "c"):
        keep_computed(index, [key])
    assert "a" not in index and "b" in index


def test_blocks_in_use_stay_whatever_the_capacity() -> None:
    index = PrefixIndex(0)
    index.insert(["a", "b"], 0, 2)
    assert index.resize(0) == [] and index.match(["a", "b"]) == 2
    assert [block.key for block in index.release(["a", "b"], 2)] == ["b", "a"]
    assert len(index) == 0


def test_misuse_is_a_bug_and_says_so() -> None:
    index = PrefixIndex(4)
    with pytest.raises(RuntimeError, match="predecessor"):
        index.insert(["a", "b"], 1, 2)
    keep_computed(index, ["a"])
    with pytest.raises(RuntimeError, match="not held"):
        index.release(["a"], 1)
    with pytest.raises(UnknownName, match="lru"):
        PrefixIndex(4, "lrU")
    with pytest.raises(BadInput):
        LruSizes([4, 2])


@pytest.mark.parametrize("policy", EVICTION.names())
@settings(deadline=None, max_examples=60)
@given(requests=st.lists(paths, max_size=40), size=st.integers(0, 12))
def test_every_policy_keeps_whole_chains_within_its_size(policy: str, requests: list[list[int]], size: int) -> None:
    index = PrefixIndex(size, policy)
    for path in requests:
        keep_computed(index, chain(path))
        index.check()
        assert len(index) <= size
        assert index.match(chain(path)) == min(size, len(path)) or policy != "lru"


class Brute:
    """LRU in the plainest way: a list in order of use, chains used from their ends, cut to the size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: list[tuple[int, ...]] = []

    def request(self, keys: list[tuple[int, ...]]) -> int:
        found = 0
        while found < len(keys) and keys[found] in self.kept:
            found += 1
        for key in reversed(keys):
            if key in self.kept:
                self.kept.remove(key)
            self.kept.insert(0, key)
        del self.kept[self.size :]
        return found


@settings(deadline=None, max_examples=200)
@given(st.lists(paths, max_size=50), st.sets(st.integers(1, 25), min_size=1, max_size=6))
def test_one_pass_for_all_sizes_is_one_pass_for_each(requests: list[list[int]], sizes: set[int]) -> None:
    """Three ways to the same hits: the plain list, the index with its heap, and the markers on one list."""
    rising = sorted(sizes)
    caches, names = LruSizes(rising), dict[tuple[int, ...], int]()
    plain = [Brute(size) for size in rising]
    indices = [PrefixIndex(size) for size in rising]
    seen: set[tuple[int, ...]] = set()
    for path in requests:
        keys = chain(path)
        numbers = [names.setdefault(key, len(names)) for key in keys]
        zones = caches.look_up(numbers)
        caches.use(numbers)
        assert len(zones) == sum(key in seen for key in keys)
        seen.update(keys)
        for order, (brute, index) in enumerate(zip(plain, indices, strict=True)):
            found = sum(zone <= order for zone in zones)
            assert found == brute.request(keys) == keep_computed(index, keys)


class Index(RuleBasedStateMachine):
    """Live sequences acquire, compute, and give back, while the room for unused blocks changes."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PrefixIndex(5, "lru")
        self.live: list[tuple[list[tuple[int, ...]], int]] = []

    @rule(path=paths)
    def start(self, path: list[int]) -> None:
        keys = chain(path)
        there = self.index.match(keys)
        assert self.index.acquire(keys) == there
        self.live.append((keys, there))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def compute(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.live) - 1))
        keys, held = self.live[at]
        end = data.draw(st.integers(held, len(keys)))
        self.index.insert(keys, held, end)
        self.live[at] = (keys, end)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        keys, held = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        for gone in self.index.release(keys, held):
            assert gone.key not in self.index

    @rule(capacity=st.integers(0, 8))
    def room(self, capacity: int) -> None:
        self.index.resize(capacity)

    @invariant()
    def books_agree(self) -> None:
        self.index.check()
        held: dict[tuple[int, ...], int] = {}
        for keys, end in self.live:
            for key in keys[:end]:
                held[key] = held.get(key, 0) + 1
        for key, count in held.items():
            block = self.index.get(key)
            assert block is not None and block.references == count
        assert len(self.index) == len(held) + self.index.num_unused


Index.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestIndex = Index.TestCase
