"""The plan as a whole."""

import json

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_70B, MISTRAL_7B
from windowtax.base.errors import BadInput, UnknownName
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import catalog_entry, read_model
from windowtax.plan.contract import plan_json
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.plan.report import sections
from windowtax.spec.workload import Workload


def plan(spec=LLAMA_8B, device="h100", context=8192, users=1, output=256, cached=0, **options):
    workload = Workload(context_tokens=context, output_tokens=output, users=users, cached_tokens=cached)
    return make_plan(spec, hardware(device), workload, PlanOptions(**options))


@pytest.mark.parametrize(("users", "milliseconds"), [(25, 38.75), (50, 59.73)])
def test_steady_load_brackets_nvidia_nim(users, milliseconds):
    """Llama-3.3-70B FP8 on two H100, 5000/500: other users' prompts are read between the steps (FP8 cache)."""
    made = plan(LLAMA_70B, context=5500, output=500, users=users, accelerators=2, weights="fp8", cache_dtype="fp8")
    low, high = made.times.loaded_tpot_s
    assert low * 1e3 < milliseconds < high * 1e3


def test_the_price_of_a_call_is_its_machine_seconds():
    made = plan(users=4)
    seconds = made.times.ttft.overlap_s + made.times.decode_s / 4
    assert made.costs.bill.total_usd == pytest.approx(2.95 / 3600 * seconds)
    assert made.costs.usd_per_hour == pytest.approx(2.95)
    assert made.costs.usd_per_user_hour == pytest.approx(2.95 / made.fit.most_users)


def test_a_cached_prefix_makes_the_first_token_cheaper_and_no_other():
    cold, warm = plan(context=32_768), plan(context=32_768, cached=30_000)
    assert warm.times.ttft.overlap_s < cold.times.ttft.overlap_s / 5
    assert warm.times.tpot == cold.times.tpot


def test_more_users_share_the_weights_but_not_the_cache():
    one, eight = plan().times.tpot, plan(users=8).times.tpot
    assert one.overlap_s < eight.overlap_s < 8 * one.overlap_s
    assert plan(users=8).times.cache_share > plan().times.cache_share


def test_beyond_the_trained_window_is_arithmetic_only():
    assert "arithmetic only" in plan(context=262_144).warnings[0]
    assert plan().warnings == ()


def test_what_does_not_fit_has_no_times_and_says_what_is_missing():
    made = plan(LLAMA_70B, accelerators=1)
    assert made.times is None and made.costs is None and not made.fit.fits
    assert any("GiB are missing on each of 1 accelerators" in warning for warning in made.warnings)


def test_more_than_a_node_is_said():
    assert any("takes 3 nodes" in warning for warning in plan(LLAMA_70B, context=131_072, users=24).warnings)


def test_weights_without_arithmetic_of_their_own_are_computed_wider():
    assert "no fp8 arithmetic: it computes in bf16" in plan(device="a100", weights="fp8").warnings[0]


def test_a_plan_without_a_price_has_no_costs():
    from dataclasses import replace

    made = make_plan(LLAMA_8B, replace(hardware("h100"), usd_per_hour=None), Workload(context_tokens=8192))
    assert made.costs is None and made.times is not None


def test_one_output_token_needs_no_decode_step():
    made = plan(output=1, users=3)
    assert made.times.decode_s == 0
    assert made.times.call_s == made.times.ttft.overlap_s


def test_a_sliding_window_stops_growing():
    short, long = plan(MISTRAL_7B, context=8192), plan(MISTRAL_7B, context=131_072)
    assert short.layout.bytes_for(8192) == long.layout.bytes_for(131_072) == 2**29
    assert long.times.tpot.overlap_s == pytest.approx(short.times.tpot.overlap_s)


def test_quantising_the_cache_speeds_up_decode_and_fits_more():
    bf16, int4 = plan(users=4, context=65_536), plan(users=4, context=65_536, cache_dtype="int4")
    assert int4.times.tpot.overlap_s < bf16.times.tpot.overlap_s
    assert int4.fit.most_users > 3 * bf16.fit.most_users


@pytest.mark.parametrize(
    "wrong",
    [
        {"context_tokens": 100, "output_tokens": 100},
        {"context_tokens": 100, "output_tokens": 0},
        {"context_tokens": 1000, "users": 0},
        {"context_tokens": 1000, "cached_tokens": 744},
    ],
)
def test_senseless_workloads_are_refused(wrong):
    with pytest.raises(BadInput):
        Workload(**wrong)


def test_unknown_dtypes_are_refused():
    with pytest.raises(UnknownName):
        plan(cache_dtype="int3")
    with pytest.raises(UnknownName):
        plan(weights="int3")


# --- the cache that a checkpoint was calibrated for -----------------------------------------------------------------


def calibrated(tmp_path):
    """A Llama beside ModelOpt's file, which says that keys and values are fp8."""
    config = json.loads(catalog_entry("llama-3.1-8b").path.read_text())
    said = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": said}))
    return read_model(str(tmp_path))


@pytest.mark.parametrize(
    ("asked", "dtype", "by"),
    [
        ({}, "fp8", "checkpoint"),
        ({"cache_dtype": "checkpoint+edges:1"}, "fp8+edges:1", "checkpoint"),
        ({"cache_dtype": "bf16"}, "bf16", "given"),
        ({"cache_dtype": "fp8"}, "fp8", "given"),
    ],
)
def test_a_checkpoints_own_cache_is_the_default_and_said(tmp_path, asked, dtype, by):
    made = plan(calibrated(tmp_path), **asked)
    assert (made.dtype.name, made.cache_dtype_from) == (dtype, by)
    assert plan_json(made)["cache_dtype_from"] == by
    title = next(section.title for section in sections(made) if section.title.startswith("KV cache"))
    assert title == f"KV cache ({dtype}{', as the checkpoint was calibrated for' if by == 'checkpoint' else ''})"


def test_without_a_word_of_the_checkpoint_the_cache_is_bf16():
    made = plan(LLAMA_8B)
    assert (made.dtype.name, made.cache_dtype_from) == ("bf16", "default")
