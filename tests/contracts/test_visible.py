"""Law 4, first half: whatever a kind declares about its reads and its cache follows from its `visible()`.

Walks the registry. A kind that reads every visible row must keep exactly what is still visible to somebody; a
selection reads at most that and never keeps less; a state keeps nothing of single tokens.
"""

import pytest
from tests.cases.attention import CASES

from windowtax.spec.attention.base import KINDS, AttentionKind, Reading
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype

LENGTH = 70
BF16 = cache_dtype("bf16")
EXACT = {name: kind for name, kind in CASES.items() if kind.reading is Reading.ALL}
SELECTING = {name: kind for name, kind in CASES.items() if kind.reading is Reading.SELECTION}
STATEFUL = {name: kind for name, kind in CASES.items() if kind.reading in (Reading.STATE, Reading.NONE)}


def parts_of(kind: AttentionKind) -> tuple[LayerCache, ...]:
    """What the layer reads: its own cache, or the one that it borrows."""
    return kind.caches(BF16) + kind.borrowed(BF16)


def seen_by(kind: AttentionKind) -> list[list[int]]:
    return [[key for key in range(LENGTH) if kind.visible(query, key)] for query in range(LENGTH)]


def kept_for(part: LayerCache, query: int) -> set[int]:
    """The tokens that a part holds rows of when the query at that position, or a later one, is computed."""
    if part.is_state:
        return set()
    if part.keep_first is not None:
        return set(range(min(part.keep_first, query + 1)))
    return set(range(part.first_needed(query), query + 1))


def is_scanned(part: LayerCache) -> bool:
    """Index keys and block summaries choose what is read, and are no keys and values themselves."""
    return part.planes[0].name.startswith(("index_", "block_"))


def test_every_kind_has_a_case() -> None:
    assert {kind.kind for kind in CASES.values()} == set(KINDS.names())
    assert {*EXACT, *SELECTING, *STATEFUL} == set(CASES)


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_a_query_sees_itself_and_nothing_later(kind: AttentionKind) -> None:
    for query, keys in enumerate(seen_by(kind)):
        assert keys[-1] == query


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_pairs_are_the_sum_of_reads(kind: AttentionKind) -> None:
    for start in (0, 1, 7, 16, 33):
        for num_tokens in (1, 2, 15, 16, 30):
            reads = [kind.context_read(query + 1) for query in range(start, start + num_tokens)]
            assert kind.pairs(start, num_tokens) == sum(reads)


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_flops_never_fall_and_depend_on_no_more_than_the_step(kind: AttentionKind) -> None:
    counts = [kind.flops(start, 3) for start in range(LENGTH)]
    assert all(count >= 0 for count in counts)
    if kind.reading is Reading.STATE:
        assert set(counts) == {3 * kind.flops(0, 1)}
        assert counts[0] > 0


@pytest.mark.parametrize("kind", EXACT.values(), ids=EXACT)
def test_reads_and_retention_follow_from_visible(kind: AttentionKind) -> None:
    seen, parts = seen_by(kind), parts_of(kind)
    for query, keys in enumerate(seen):
        assert kind.context_read(query + 1) == len(keys)
        needed = {key for later in seen[query:] for key in later if key <= query}
        assert set().union(*(kept_for(part, query) for part in parts)) == needed
        assert sum(len(kept_for(part, query)) for part in parts) == len(needed), "no token is kept twice"
    for length in range(1, LENGTH + 1):
        assert sum(part.peak_tokens(length) for part in parts) == max(len(keys) for keys in seen[:length])


@pytest.mark.parametrize("kind", SELECTING.values(), ids=SELECTING)
def test_a_selection_reads_what_its_cache_says_and_keeps_all_that_is_visible(kind: AttentionKind) -> None:
    parts = [part for part in kind.caches(BF16) if not part.is_state]
    rows = [part for part in parts if not is_scanned(part)]
    for query, keys in enumerate(seen_by(kind)):
        assert kind.context_read(query + 1) == sum(part.read_rows(query + 1) for part in rows)
        assert all(part.read_rows(query + 1) <= part.peak_tokens(query + 1) for part in parts)
        # A token is there as a row of its own, or in the row of its stride once that is full.
        singles = [kept_for(part, query) for part in rows if part.stride == 1]
        packed = [
            set(range(part.skip_first, part.skip_first + part.peak_tokens(query + 1) * part.stride))
            for part in rows
            if part.stride > 1
        ]
        assert set(keys) <= set().union(*singles, *packed)


@pytest.mark.parametrize("kind", SELECTING.values(), ids=SELECTING)
def test_index_keys_and_summaries_are_read_whole(kind: AttentionKind) -> None:
    scanned = [part for part in kind.caches(BF16) if not part.is_state and is_scanned(part)]
    for part in scanned:
        assert part.read_rows(LENGTH) == part.peak_tokens(LENGTH) > 0


@pytest.mark.parametrize("kind", STATEFUL.values(), ids=STATEFUL)
def test_a_state_is_as_large_at_any_length(kind: AttentionKind) -> None:
    layout = CacheLayout.of([kind.caches(BF16)])
    assert kind.context_read(LENGTH) == 0
    assert layout.growth_bytes_per_token == layout.window_bytes == 0
    assert layout.bytes_for(1) == layout.bytes_for(10**9) == layout.read_bytes(10**9) == layout.state_bytes
    assert (layout.state_bytes > 0) == (kind.reading is Reading.STATE)
    # One block per sequence, whatever it computes.
    blocks = (1,) * len(layout.groups)
    assert layout.peak_blocks(10**6, 512) == layout.peak_blocks(1, 1) == blocks
    assert layout.pool_bytes(blocks) == layout.state_bytes


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
@pytest.mark.parametrize("block_size", [1, 4, 32])
def test_a_pool_holds_every_step_of_every_sequence(kind: AttentionKind, block_size: int) -> None:
    layout = CacheLayout.of([kind.caches(BF16)], block_size)
    for length in (1, 5, 33, LENGTH):
        for chunk in (1, 7, 64):
            peak = layout.peak_blocks(length, chunk)
            assert layout.pool_bytes(peak) >= layout.bytes_for(length)
            starts = range(0, length, chunk)
            for start in starts:
                for group in range(len(layout.groups)):
                    first, end = layout.held_range(group, start, min(chunk, length - start))
                    assert 0 <= end - first <= peak[group]


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_a_prefix_is_reusable_only_while_all_that_will_be_read_is_there(kind: AttentionKind) -> None:
    for matched in (1, 12, 16, 40):
        if kind.reading is Reading.STATE:
            assert kind.reusable_prefix(matched, 0) == 0, "blocks hold nothing of a state"
            continue
        needed = min(key for query in range(matched, LENGTH) for key in range(LENGTH) if kind.visible(query, key))
        assert kind.reusable_prefix(matched, min(needed, matched)) == matched
        if needed < matched:
            assert kind.reusable_prefix(matched, needed + 1) == 0


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_two_ranks_together_have_all_heads_and_no_rank_more_than_the_whole(kind: AttentionKind) -> None:
    half = kind.shard(2)
    whole, part = (CacheLayout.of([k.caches(BF16)]).bytes_for(LENGTH) for k in (kind, half))
    assert whole / 2 <= part <= whole
    assert half.flops(LENGTH - 1, 1) * 2 >= kind.flops(LENGTH - 1, 1) >= half.flops(LENGTH - 1, 1)
    assert kind.shard(1) == kind
