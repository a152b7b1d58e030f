"""Techniques: each worth is the equation's, checked against figures of the facts files and by hand."""

import math
from dataclasses import asdict

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, MISTRAL_7B, MIXTRAL
from tests.plan.test_fit import sizing
from windowtax.base.errors import BadInput, UnknownName
from windowtax.plan.classify import base_state, classified_json, classify, classify_all
from windowtax.plan.techniques.base import PATHS, TECHNIQUES, worth


def state(spec=LLAMA_70B, chips=8, users=8, **more):
    return base_state(sizing(spec, users=users, **more), chips)


def one(name, *args, **more):
    return classify(name, state(*args, **more))


def test_some_twenty_techniques_in_four_paths():
    found = dict(TECHNIQUES.items())
    assert len(found) >= 22
    assert {path for made in found.values() for path in made.paths} == set(PATHS)
    assert all(made.term and made.source for made in found.values())


@pytest.mark.parametrize("spec", [LLAMA_70B, LLAMA_8B, MIXTRAL, GEMMA_LIKE], ids=lambda spec: spec.name)
def test_every_technique_gives_numbers_or_says_why_not(spec):
    found, missing = classify_all(state(spec, chips=4))
    assert len(found) + len(missing) == len(TECHNIQUES.names()) and len(found) >= 20
    for made in found:
        for side in (made.without, made.with_it):
            assert all(value is None or (math.isfinite(value) and value >= 0) for value in asdict(side).values())
        assert classified_json(made)["factors"]["token_s"] > 0
    assert all(missing.values())


def test_nothing_is_worth_nothing():
    """A technique moves at least one figure; paging does so only where the model claims more than is used."""
    found, _ = classify_all(state(context=65_536))
    assert all(any(f is not None and abs(f - 1) > 1e-6 for f in made.factors.values()) for made in found)


@pytest.mark.parametrize(
    ("name", "factor"), [("gqa", 8.0), ("mqa", 8.0), ("mla", 2048 / 576), ("kv-fp8", 2.0), ("kv-int4", 256 / 68)]
)
def test_bytes_per_token_shrink_as_the_facts_say(name, factor):
    """GQA 8x on the 70B; MLA 3.56x per layer against 8 KV heads of 128; int4 with one fp32 scale per head: 68 B for
    256."""
    found = one(name)
    assert found.factors["cache_bytes"] == found.factors["read_bytes"] == pytest.approx(factor)
    assert 1 < found.factors["token_s"] < factor
    assert found.factors["sweet_spot_batch"] == pytest.approx(1, rel=0.01)


def test_cache_techniques_are_invisible_at_short_context():
    short, long = (one("kv-fp8", context=context).factors["token_s"] for context in (1024, 1_048_576))
    assert short < 1.02 and long > 1.8


def test_sharing_across_layers_saves_memory_and_no_reading():
    found = one("cross-layer")
    assert found.factors["cache_bytes"] == 2
    assert found.factors["read_bytes"] == 1
    assert found.factors["token_s"] == pytest.approx(1, abs=0.02)


def test_sparse_reading_saves_reading_and_no_memory():
    for name in ("dsa", "nsa", "moba", "quest"):
        factors = one(name).factors
        assert factors["read_bytes"] > 4 and factors["cache_bytes"] < 1, name


def test_mixtures_move_the_sweet_spot_by_what_they_do_not_use():
    found = one("moe", MIXTRAL)
    share = MIXTRAL.total_parameters / MIXTRAL.active_parameters
    assert found.factors["sweet_spot_batch"] == pytest.approx(share, rel=0.02)
    assert found.factors["weight_bytes"] == 1
    # At a batch that touches all experts and stays memory-bound, sparsity buys nothing between tokens, and its kernels
    # cost what hardware/h100-sxm.toml says.
    busy = one("moe", MIXTRAL, users=64, context=1024)
    assert busy.with_it.token_s - busy.without.token_s == pytest.approx(32 * 69e-6, rel=0.03)


def test_speculation_buys_expected_tokens_until_computing_binds():
    """(1 - 0.8^5) / (1 - 0.8) = 3.36 tokens per step, at 5 times the FLOPs."""
    assert one("speculative", users=1, context=8192).factors["token_s"] == pytest.approx(3.3616, rel=0.02)
    assert one("speculative", users=512, context=1024).factors["token_s"] < 1.5


def test_flash_attention_saves_what_the_scores_would_write():
    """Article 3 says 3.2x at 128K and 1.5x at 4K: only the first can be had, a whole prompt is more than its
    attention."""
    assert one("flash-attention").factors["ttft_s"] == pytest.approx(3.2, rel=0.1)
    assert one("flash-attention").factors["token_s"] == 1
    assert one("flash-attention", context=4096).factors["ttft_s"] < 1.1


def test_windows_are_taken_away_where_a_model_has_its_own():
    assert one("sliding-window", MISTRAL_7B, chips=1).factors["cache_bytes"] == 131_072 / 4096
    assert one("sliding-window", GEMMA_LIKE, chips=1).change.startswith("5 of 6")


def test_the_cost_of_more_chips_is_counted():
    for name in ("ring-attention", "tensor-parallel"):
        found = one(name, chips=4)
        assert found.factors["token_s"] > 1 > found.factors["usd_per_mtok"], name


def test_chunks_bound_the_gap_and_separate_pools_remove_it():
    chunked, apart = one("chunked-prefill"), one("pd-disaggregation")
    assert chunked.factors["gap_s"] > 20 and 0.9 < chunked.factors["ttft_s"] < 1
    assert apart.with_it.gap_s == pytest.approx(apart.with_it.token_s)


def test_the_base_is_the_same_for_all():
    found, _ = classify_all(state(context=32_768))
    plain = worth(state(context=32_768))
    same = [made for made in found if plain in (made.without, made.with_it)]
    assert len(same) >= len(found) - 4


def test_the_fewest_chips_are_taken():
    assert base_state(sizing(LLAMA_8B, context=8192), None).chips == 1
    assert base_state(sizing(LLAMA_70B), None).chips == 4
    with pytest.raises(BadInput):
        base_state(sizing(LLAMA_8B), 0)


def test_names_that_are_none_are_refused():
    with pytest.raises(UnknownName):
        one("gqaa")
    with pytest.raises(BadInput):
        one("newer-chip", device="b200")
