"""The block map against the books that it reads: every block once, prefixes as trees, strangers' words untold."""

import random

import pytest

from windowtax.cache.manager import CacheManager
from windowtax.cache.shared import SharedCache
from windowtax.engine.block_map import Json, block_map, seen
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES

SIZE = 4
PLANES = CACHE_DTYPES["bf16"].vector_planes("k", 1, 8)
LAYOUTS = {
    "full": CacheLayout.of([LayerCache(PLANES)], SIZE),
    "full and a window": CacheLayout.of([LayerCache(PLANES), LayerCache(PLANES, window=6)], SIZE),
}


def cache_of(layout: CacheLayout, blocks: int = 60) -> SharedCache:
    return SharedCache(layout, [blocks] * len(layout.groups))


def run(cache: CacheManager, name: str, tokens: list[int], salt: str = "") -> None:
    """As an engine does with one prompt."""
    found = cache.attach(name, tokens, salt)
    assert cache.reserve(name, found, len(tokens) - found)
    cache.completed(name, tokens, len(tokens))
    cache.trim(name, len(tokens))


def looked(cache: CacheManager, running: dict[str, int] | None = None, salt: str = "") -> Json:
    return block_map(seen(cache, running or {}, salt), lambda ids: " ".join(map(str, ids)))


def owners(found: Json, group: int = 0) -> list[int | None]:
    """Per block of a pool, who has it; the runs must neither overlap nor leave the pool."""
    pool = found["groups"][group]
    blocks: list[int | None] = [None] * pool["num_blocks"]
    for start, count, owner in pool["runs"]:
        assert blocks[start : start + count] == [None] * count
        blocks[start : start + count] = [owner] * count
    return blocks


def test_two_requests_share_a_prefix_and_part() -> None:
    cache = cache_of(LAYOUTS["full"])
    common, size = list(range(16)), LAYOUTS["full"].block_bytes(0)
    run(cache, "a", [*common, *range(100, 109)])
    run(cache, "b", [*common, *range(200, 205)])
    found = looked(cache, {"a": 25, "b": 21})
    parts = [(one["parent"], one["first_token"], one["num_tokens"], one["users"]) for one in found["segments"]]
    assert parts == [(None, 0, 16, 2), (0, 16, 8, 1), (0, 16, 4, 1)]
    assert [one["bytes"] for one in found["segments"]] == [4 * size, 2 * size, size]
    assert [one["hits"] for one in found["segments"]] == [1, 0, 0]
    assert [one["words"] for one in found["segments"]][2] == "200 201 202 203"
    assert [one["segments"] for one in found["sequences"]] == [[0, 1], [0, 2]]
    drawn = owners(found)
    assert [drawn.count(owner) for owner in (0, 1, 2, -1, -2)] == [4, 2, 1, 1, 1]


def test_a_conversation_that_goes_on_shows_its_turns_and_their_hits() -> None:
    cache = cache_of(LAYOUTS["full"])
    tokens = list(range(20))
    run(cache, "a", tokens)
    cache.free("a")
    run(cache, "b", [*tokens, *range(50, 61)])
    cache.free("b")
    found = looked(cache)
    assert [(one["num_tokens"], one["hits"], one["users"]) for one in found["segments"]] == [(20, 1, 0), (8, 0, 0)]
    assert found["sequences"] == [] and found["groups"][0]["num_free"] == 60 - 7


def test_of_others_only_the_bytes_are_told() -> None:
    """Neither words nor how many prefixes and requests there are, nor how long and how often used."""
    cache, size = cache_of(LAYOUTS["full"]), LAYOUTS["full"].block_bytes(0)
    for name, tokens in (("b", range(9)), ("c", range(50, 90)), ("d", range(8))):
        run(cache, name, list(tokens), "other/")
    cache.free("c")
    run(cache, "a", list(range(9)), "one/")
    found = block_map(seen(cache, {"a": 9}, "one/", {"b": 9, "d": 8}), lambda ids: " ".join(map(str, ids)))
    assert [one["words"] for one in found["segments"]] == ["0 1 2 3 4 5 6 7", None, None]
    assert [one["id"] for one in found["sequences"]] == ["a"]
    used, kept = found["segments"][1:]
    assert (used["users"], used["bytes"]) == (1, 3 * size) and (kept["users"], kept["bytes"]) == (0, 10 * size)
    assert {one[name] for one in (used, kept) for name in ("first_token", "num_tokens", "hits", "last_used")} == {0}
    assert len([owner for owner in owners(found) if owner is not None]) == cache.pools[0].num_held


def test_lower_tiers_are_counted() -> None:
    cache = cache_of(LAYOUTS["full"])
    run(cache, "a", list(range(17)))
    keys = cache.keys_of(list(range(17)), "")
    where = {keys[0]: "host", keys[1]: "disk", keys[2]: "disk"}
    found = block_map(seen(cache, {}, ""), str, where.get)
    assert found["segments"][0]["tiers"] == {"host": 1, "disk": 2}


def test_a_cache_that_keeps_nothing_has_a_map_too() -> None:
    cache = CacheManager(LAYOUTS["full"], [8])
    run(cache, "a", list(range(9)))
    found = looked(cache, {"a": 9})
    assert found["segments"] == [] and sorted(map(str, owners(found))) == ["-1"] * 3 + ["None"] * 5


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("seed", range(4))
def test_every_held_block_is_on_the_map_once(layout: CacheLayout, seed: int) -> None:
    """Random prompts that begin alike, in a pool that is too small for all: the map agrees with the pools and bytes."""
    dice = random.Random(seed)
    cache = cache_of(layout, 24)
    running: dict[str, int] = {}
    for number in range(60):
        tokens = [dice.randrange(2) for _ in range(dice.randrange(1, 30))]
        if len(running) == 2:
            cache.free(name := dice.choice(sorted(running)))
            del running[name]
        run(cache, f"s{number}", tokens)
        running[f"s{number}"] = len(tokens)
        found = looked(cache, running)
        for group, pool in enumerate(cache.pools):
            held = [owner for owner in owners(found, group) if owner is not None]
            assert len(held) == pool.num_held == pool.num_blocks - found["groups"][group]["num_free"]
            assert all(-len(running) <= owner < len(found["segments"]) for owner in held)
        own = sum(count * one["block_bytes"] for one in found["groups"] for _, count, owner in one["runs"] if owner < 0)
        assert sum(one["bytes"] for one in found["segments"]) + own == cache.held_bytes
        assert all(one["parent"] is None or one["parent"] < place for place, one in enumerate(found["segments"]))
