"""Why a prefix missed, on caches whose content is known."""

import difflib

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cache.memory import Memory
from tests.cache.test_shared import LAYOUTS, cache_of, compute

from windowtax.cache.miss import MissReason, explain_miss, tokens_in_common
from windowtax.cache.shared import SharedCache
from windowtax.spec.cache import CacheLayout, LayerCache

TOKENS = list(range(17))


def _filled(blocks: int = 60) -> SharedCache:
    cache = cache_of(LAYOUTS["full"], blocks)
    cache.attach("a", TOKENS, "me")
    compute(cache, "a", TOKENS, 0)
    cache.free("a")
    return cache


def test_all_that_could_be_reused_was() -> None:
    assert explain_miss(_filled(), [*TOKENS, 5], "me").reason is MissReason.NONE


def test_the_first_token_that_differs_is_named() -> None:
    changed = [*TOKENS[:10], 99, *TOKENS[11:]]
    miss = explain_miss(_filled(), changed, "me")
    assert (miss.reason, miss.num_cached_tokens, miss.position) == (MissReason.DIVERGES, 8, 10)
    assert (miss.kept_token, miss.token) == (10, 99)


def test_a_change_in_the_first_block_is_named_to_its_own_tenant_only() -> None:
    changed = [0, 99, *TOKENS[2:]]
    miss = explain_miss(_filled(), changed, "me")
    assert (miss.reason, miss.position, miss.kept_token) == (MissReason.DIVERGES, 1, 1)
    assert explain_miss(_filled(), changed, "someone else").reason is MissReason.EMPTY


def test_what_was_never_computed_is_new() -> None:
    miss = explain_miss(_filled(), [*TOKENS[:16], *range(50, 60)], "me")
    assert (miss.reason, miss.position) == (MissReason.NEW, 16)


def test_what_was_evicted_is_said_to_be() -> None:
    cache = _filled(blocks=5)
    other = list(range(100, 117))
    cache.attach("b", other, "me")
    compute(cache, "b", other, 0)
    assert explain_miss(cache, TOKENS, "me").reason is MissReason.EVICTED


def test_rows_without_the_states_behind_them_are_named() -> None:
    cache = cache_of(LAYOUTS["full and states"])
    prompt = list(range(22))
    cache.attach("a", prompt, "me")
    compute(cache, "a", prompt, 0)
    other = [*prompt[:13], 99, 98, 97, 96]
    miss = explain_miss(cache, other, "me")
    assert (miss.reason, miss.position, miss.lost_tokens(other)) == (MissReason.STATE, 8, 4), "a checkpoint is at 8"
    assert explain_miss(cache, [*prompt, 99], "me").reason is MissReason.NONE


def test_a_sequence_that_went_further_left_its_states() -> None:
    cache = cache_of(LAYOUTS["full and states"])
    cache.bind(Memory(4))
    tokens = list(range(31))
    cache.attach("a", tokens[:10], "me")
    compute(cache, "a", tokens[:10], 0)
    compute(cache, "a", tokens[:15], 10)
    cache.free("a")
    found = cache.attach("b", tokens, "me")
    assert found == 15 and cache.usable(cache.keys_of(tokens, "me")) == 2
    assert explain_miss(cache, tokens, "me", found).reason is MissReason.NEW


def test_blocks_that_differ_in_length_are_named() -> None:
    layout = CacheLayout.of([LayerCache(LAYOUTS["full"].groups[0].cache.planes, stride=8)], 4)
    assert explain_miss(cache_of(layout), TOKENS, "me").reason is MissReason.UNEVEN


def _kept(*prompts: list[int], blocks: int = 200) -> SharedCache:
    cache = cache_of(LAYOUTS["full"], blocks)
    for number, tokens in enumerate(prompts):
        compute(cache, f"s{number}", tokens, cache.attach(f"s{number}", tokens, "me"))
        cache.free(f"s{number}")
    return cache


def test_behind_a_difference_only_what_is_there_again_is_lost() -> None:
    """A date in a long prompt loses what follows it; another question behind the same words loses nothing."""
    kept = list(range(1000, 1200))
    cache = _kept(kept)
    changed = [*kept[:8], 1, *kept[9:]]
    miss = explain_miss(cache, changed, "me")
    assert (miss.reason, miss.position, miss.lost_tokens(changed)) == (MissReason.DIVERGES, 8, 190), (
        "the last is never read"
    )
    longer = [*kept[:8], 1, 2, 3, *kept[9:100], *range(5000, 5100)]
    assert explain_miss(cache, longer, "me").lost_tokens(longer) == 91
    other = [*kept[:100], *range(5000, 5100)]
    assert explain_miss(cache, other, "me").lost_tokens(other) == 0


def test_of_several_continuations_the_one_used_last_is_compared() -> None:
    stem, one, other = list(range(1000, 1100)), list(range(2000, 2100)), list(range(3000, 3100))
    prompt = [*stem[:4], 1, *stem[5:], *other]
    assert explain_miss(_kept([*stem, *one], [*stem, *other]), prompt, "me").lost_tokens(prompt) == 194
    assert explain_miss(_kept([*stem, *other], [*stem, *one]), prompt, "me").lost_tokens(prompt) == 95


def test_what_was_evicted_is_lost_whole() -> None:
    cache = _kept(TOKENS, list(range(100, 117)), blocks=5)
    miss = explain_miss(cache, TOKENS, "me")
    assert miss.reason is MissReason.EVICTED and miss.lost_tokens(TOKENS) == 16 - miss.num_cached_tokens


def test_texts_of_one_token_over_and_over_are_compared_in_time() -> None:
    assert tokens_in_common([7] * 20_000, [7] * 20_000) == 20_000
    assert tokens_in_common([7] * 15, [7] * 15) == 0, "so short a stretch is chance"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200), unique=True, min_size=60, max_size=120), st.data())
def test_an_edit_keeps_what_lies_around_it(kept: list[int], data: st.DataObject) -> None:
    """difflib is the witness: where no token occurs twice, one edit leaves its matching blocks and nothing else."""
    begin = data.draw(st.integers(0, len(kept)))
    end = data.draw(st.integers(begin, min(len(kept), begin + 30)))
    changed = [*kept[:begin], *range(300, 300 + data.draw(st.integers(0, 20))), *kept[end:]]
    blocks = difflib.SequenceMatcher(None, kept, changed, autojunk=False).get_matching_blocks()
    assert tokens_in_common(changed, kept) == sum(block.size for block in blocks if block.size >= 16)
