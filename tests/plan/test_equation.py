"""The core equation against the checked figures of facts/prices-and-recall.md 1b and facts/models.md section 3."""

from pathlib import Path

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_70B, LLAMA_405B, MISTRAL_7B, MIXTRAL
from tests.plan.test_fit import sizing
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.equation import Equation
from windowtax.plan.equation_table import shares, worked
from windowtax.plan.fit import Deployment


def equation(spec, ranks=1, **more):
    return Equation.of(sizing(spec, **more), Deployment(tensor_parallel=ranks))


@pytest.mark.parametrize(
    ("device", "batch"),
    [("h100", 295), ("a100", 153), ("h200", 206), ("b200", 292), ("mi300x", 247), ("l40s", 419), ("tpu-v5e", 241)],
)
def test_the_sweet_spot_of_a_dense_model_is_the_chips_ridge(device, batch):
    """B* = (C / BW)(w / 2) N_total / N_active with w = 2. (The facts' 424 of the L40S is its fp8 figure.)"""
    found = equation(LLAMA_8B, device=device)
    assert found.ridge == pytest.approx(batch, rel=0.01)
    assert found.sweet_spot_batch == pytest.approx(found.ridge, rel=0.001)


@pytest.mark.parametrize("ranks", [1, 2, 8])
def test_the_sweet_spot_does_not_depend_on_the_ranks_nor_on_the_cache(ranks):
    found = [equation(LLAMA_70B, ranks, cache=cache).sweet_spot_batch for cache in ("bf16", "int4")]
    assert found[0] == found[1] == pytest.approx(295, rel=0.01)


def test_fp8_weights_have_the_same_sweet_spot_and_experts_a_later_one():
    assert equation(LLAMA_70B, weights="fp8").sweet_spot_batch == pytest.approx(295, rel=0.05)
    shares = MIXTRAL.total_parameters / MIXTRAL.active_parameters
    assert equation(MIXTRAL).sweet_spot_batch == pytest.approx(295 * shares, rel=0.02)


@pytest.mark.parametrize(
    ("spec", "tokens"), [(LLAMA_8B, 61_000), (LLAMA_70B, 108_000), (LLAMA_405B, 196_000)], ids=lambda x: str(x)[:20]
)
def test_l_eq_is_near_the_closed_form_and_exact_by_flops(spec, tokens):
    """The facts' closed form N_active / (heads x head_dim x layers) counts embedding and head too."""
    found = equation(spec).prefill_equal_tokens
    layers = spec.layer_flops_per_token / 2
    assert found == pytest.approx(tokens * layers / spec.total_parameters, rel=0.01)
    assert spec.attention_flops(0, found) >= found * spec.layer_flops_per_token
    assert spec.attention_flops(0, found - 1) < (found - 1) * spec.layer_flops_per_token


def test_the_equal_length_of_decode_is_half_of_the_prompts():
    found = equation(LLAMA_70B)
    assert found.decode_equal_tokens == pytest.approx(found.prefill_equal_tokens / 2, rel=0.05)
    # Llama-70B at 200K: 0.52 TFLOP of attention per token, 0.14 TFLOP of linear work.
    assert LLAMA_70B.attention_flops(199_999, 1) == pytest.approx(0.52e12, rel=0.01)
    assert 2 * found.active_parameters == pytest.approx(0.14e12, rel=0.02)


def test_cache_reads_pass_weight_reads_where_the_bytes_say():
    one, four = equation(LLAMA_8B), equation(LLAMA_8B, users=4)
    weights = one.rank.weights.read(1)
    assert one.cache_passes_weights_tokens == -(-weights // 131_072)
    assert four.cache_passes_weights_tokens == pytest.approx(one.cache_passes_weights_tokens / 4, rel=0.001)
    assert equation(MISTRAL_7B).cache_passes_weights_tokens is None


def test_the_claim_of_68_to_94_percent_at_500k_is_a_claim_about_the_batch():
    found = equation(LLAMA_8B)
    one = found.cache_share(500_000, 1)
    assert one == pytest.approx(65.536e9 / (65.536e9 + found.rank.weights.read(1)))
    assert found.cache_time_share(500_000, 1) < one
    low, high = (found.batch_for_share(share, 500_000) for share in (0.68, 0.94))
    assert low == 1 and high > 1
    assert found.cache_time_share(500_000, high - 1) < 0.94 <= found.cache_time_share(500_000, high)
    big = equation(LLAMA_70B, 8)
    assert big.cache_time_share(500_000, 1) < 0.68 and big.batch_for_share(0.68, 500_000) > 1
    assert equation(MISTRAL_7B).batch_for_share(0.94, 500_000) is None


def test_memory_limits_the_batch_below_the_sweet_spot():
    """Facts 1b: eight H100, 70B FP8, 200K, fp8 cache: (576 - 70) / 32.8 = 15 sequences, far below 295."""
    found = equation(LLAMA_70B, 8, weights="fp8", cache="fp8", context=200_000)
    assert found.most_in_flight == pytest.approx(15, abs=2)
    assert found.most_in_flight < found.sweet_spot_batch / 10


def test_a_step_lies_between_its_bounds():
    for users in (1, 64):
        found = equation(LLAMA_8B, users=users, context=8192)
        step = found.rank.step_s(8192, users)
        assert found.step.overlap_s <= step * 1.0001 and step <= found.step.serial_s * 1.0001


def test_every_catalog_model_has_an_equation():
    for name in ("gemma-3-27b", "gpt-oss-20b", "qwen3-30b-a3b", "llama-4-scout", "mistral-7b-v0.1"):
        found = Equation.of(sizing(read_model(name), context=8192), Deployment(tensor_parallel=1))
        assert found.sweet_spot_batch >= hardware("h100").peak_flops_per_s["bf16"].value / 3.35e12 * 0.2
        assert found.prefill_equal_tokens is None or found.prefill_equal_tokens > 1000


def test_the_page_has_the_computed_parts():
    page = (Path(__file__).parents[2] / "docs" / "equation.md").read_text(encoding="utf-8")
    for part in (worked(), shares()):
        assert part in page, "run: python -m windowtax.plan.equation_table and paste it into docs/equation.md"
