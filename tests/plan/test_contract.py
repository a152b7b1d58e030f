"""The JSON contract: what the issue promises, what the page documents, and what is printed are the same."""

import json
import re
from pathlib import Path

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, LLAMA_405B, MISTRAL_7B, MIXTRAL
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.api_side import api_side, api_traffic
from windowtax.plan.contract import plan_json, plan_row
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.plan.reference import KEYS, reference_page
from windowtax.spec.workload import Workload

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "plan-json.md"


def made(spec=LLAMA_70B, context=131_072, **options):
    return make_plan(spec, hardware("h100"), Workload(context_tokens=context), PlanOptions(**options))


def paths(value, path=""):
    if isinstance(value, dict):
        if "basis" in value:
            yield path
            return
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        yield path


def test_every_key_is_documented_and_every_documented_key_is_there():
    found = {
        re.sub(r"(peak_flops_per_s|compute_efficiency)\.\w+", r"\1.<type>", path)
        for path in paths(plan_json(made(), api_side(made(), api_traffic("anthropic/claude-opus-5"))))
    }
    assert {key.removesuffix("[]") for key in KEYS} == found


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run: python -m windowtax.plan.reference > " + str(
        PAGE
    )


def test_it_survives_json_and_bytes_are_integers():
    data = json.loads(json.dumps(plan_json(made())))
    for path in (*data["cache"], *data["fit"]["accelerator"]):
        value = data["cache"].get(path, data["fit"]["accelerator"].get(path))
        assert path == "groups" or isinstance(value, int), path


@pytest.mark.parametrize(
    ("spec", "growth", "window", "total"),
    [
        (LLAMA_8B, 131_072, 0, 16 * 2**30),
        (LLAMA_70B, 327_680, 0, 40 * 2**30),
        (LLAMA_405B, 516_096, 0, 63 * 2**30),
        (MISTRAL_7B, 0, 536_870_912, 2**29),
        (GEMMA_LIKE, 4_096, 5 * 4_096 * 1_024, 4_096 * 131_072 + 5 * 4_096 * 1_024),
    ],
)
def test_cache_bytes_of_the_issue(spec, growth, window, total):
    cache = plan_json(made(spec))["cache"]
    assert (cache["growth_bytes_per_token"], cache["window_bytes"], cache["state_bytes"]) == (growth, window, 0)
    assert cache["total_bytes"] == total
    assert cache["allocated_bytes_per_user"] >= total


def test_parameters_of_a_mixture():
    data = plan_json(made(MIXTRAL, 8192))
    assert data["parameters"] == {"total": 46_702_792_704, "active": 12_879_925_248}


def test_groups_name_their_kinds():
    groups = plan_json(made(GEMMA_LIKE, 8192))["cache"]["groups"]
    assert [(group["kinds"], group["layers"], group["window"]) for group in groups] == [
        (["sliding"], 5, 1024),
        (["full"], 1, None),
    ]


def test_what_does_not_fit_has_null_times():
    data = plan_json(made(accelerators=1))
    assert data["time"] is None and data["cost"] is None and data["fit"]["fits"] is False


def test_a_row_is_flat_and_keeps_the_figures():
    row = plan_row(made())
    assert row["cache.total_bytes"] == 40 * 2**30
    assert row["hardware.read_bytes_per_s"] == 3.35e12
    assert row["hardware.peak_flops_per_s.bf16"] == 989e12
    assert not any(isinstance(value, dict | list) for value in row.values())
