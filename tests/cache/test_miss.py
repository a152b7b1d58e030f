"""Why a prefix missed, on caches whose content is known."""

from tests.cache.test_shared import LAYOUTS, STATE, cache_of, compute

from windowtax.cache.miss import MissReason, explain_miss
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


def test_states_keep_nothing() -> None:
    cache = cache_of(CacheLayout.of([LayerCache(LAYOUTS["full"].groups[0].cache.planes), STATE], 4))
    assert explain_miss(cache, TOKENS, "me").reason is MissReason.STATE
