"""Law 4, first half: whatever a kind declares about its reads follows from its `visible()`. Walks the registry."""

import pytest
from tests.cases.attention import CASES

from windowtax.spec.attention.base import KINDS, AttentionKind
from windowtax.spec.dtypes import cache_dtype

LENGTH = 70


def test_every_kind_has_a_case() -> None:
    assert {kind.kind for kind in CASES.values()} == set(KINDS.names())


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_reads_pairs_and_retention_follow_from_visible(kind: AttentionKind) -> None:
    cache = kind.cache(cache_dtype("bf16"))
    seen = [[key for key in range(LENGTH) if kind.visible(query, key)] for query in range(LENGTH)]
    for query, keys in enumerate(seen):
        assert keys[-1] == query, "a query reads itself and nothing later"
        assert kind.context_read(query + 1) == len(keys)
        assert cache.first_needed(query) == min(key for later in seen[query:] for key in later)
    for start in (0, 1, 7, 16, 33):
        for num_tokens in (1, 2, 15, 16, 30):
            assert kind.pairs(start, num_tokens) == sum(len(keys) for keys in seen[start : start + num_tokens])
    for length in range(1, LENGTH + 1):
        assert cache.peak_tokens(length) == max(len(keys) for keys in seen[:length])


@pytest.mark.parametrize("kind", CASES.values(), ids=CASES)
def test_a_prefix_is_reusable_only_while_all_that_will_be_read_is_there(kind: AttentionKind) -> None:
    for matched in (1, 12, 16, 40):
        needed = min(key for query in range(matched, LENGTH) for key in range(LENGTH) if kind.visible(query, key))
        assert kind.reusable_prefix(matched, min(needed, matched)) == matched
        if needed < matched:
            assert kind.reusable_prefix(matched, needed + 1) == 0
