"""An API beside own machines: published prices, and sums that a reader can do by hand."""

import json
import math
from dataclasses import replace

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, LLAMA_405B
from windowtax.base.errors import BadInput, UnknownName
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.api_report import api_section, api_steps
from windowtax.plan.api_side import ApiSide, ApiTraffic, api_side, api_traffic
from windowtax.plan.knee import Slo
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.spec.workload import Workload

# Claude Opus 5: $5 and $25 per million tokens, cache reads $0.50 (platform.claude.com/docs/en/pricing, 2026-11-21).
OPUS = "anthropic/claude-opus-5"
# Gemini 2.5 Pro: $1.25 and $10, above 200,000 prompt tokens $2.50 and $15 (ai.google.dev/gemini-api/docs/pricing).
GEMINI = "google/gemini-2.5-pro"


def planned(spec=LLAMA_70B, context=131_072, usd_per_hour=3.0, users=4, cached=0, **options):
    device = hardware("h100-sxm").priced(usd_per_hour, "2026-11-22")
    workload = Workload(context_tokens=context, output_tokens=256, users=users, cached_tokens=cached)
    return make_plan(spec, device, workload, PlanOptions(**options))


def traffic(name=OPUS, calls=None, utilisation=None) -> ApiTraffic:
    found = api_traffic(name, calls, utilisation)
    assert found is not None
    return found


def side(name=OPUS, calls=None, utilisation=None, **fields) -> ApiSide:
    return api_side(planned(**fields), traffic(name, calls, utilisation))


def test_a_month_at_published_prices():
    found = side(calls=10_000, accelerators=8)
    call = (130_816 * 5 + 256 * 25) / 1e6
    assert found.call_usd == pytest.approx(call) == pytest.approx(0.66048)
    assert found.month_usd == pytest.approx(6604.8)
    assert found.own_month_usd == pytest.approx(8 * 3.0 * 730)
    assert found.crossing is not None
    assert found.crossing.first_calls == pytest.approx(8 * 3.0 * 730 / 0.66048)


def test_what_is_cached_here_is_read_from_the_sellers_cache_there():
    found = side(cached=100_000)
    assert found.call_usd == pytest.approx((30_816 * 5 + 100_000 * 0.5 + 256 * 25) / 1e6)
    assert any("writing" in note for note in found.notes)


def test_a_prompt_past_a_tier_pays_it_whole_and_says_so():
    below, above = side(GEMINI, context=131_072), side(GEMINI, context=262_144)
    assert below.call_usd == pytest.approx((130_816 * 1.25 + 256 * 10) / 1e6)
    assert above.call_usd == pytest.approx((261_888 * 2.5 + 256 * 15) / 1e6)
    assert below.notes == [] and any("200,000" in note for note in above.notes)


@pytest.mark.parametrize("users", [1, 4, 11])
def test_calls_that_nobody_gave_are_what_the_users_ask(users):
    """Little's law: users = calls per second x the seconds that a call takes."""
    plan = planned(users=users, accelerators=8)
    found = api_side(plan, traffic(utilisation=0.25))
    point = plan.point
    assert point is not None and found.calls_per_month is not None
    per_second = found.calls_per_month / (730 * 3600 * 0.25)
    assert per_second * (point.ttft_s + 255 * point.tpot_s) == pytest.approx(users)


def test_owning_wins_where_it_says():
    """Just below the crossing the API is cheaper, just above it own machines are."""
    plan = planned(spec=LLAMA_8B, context=32_768)
    first = api_side(plan, traffic()).crossing
    assert first is not None
    for calls, wins in ((first.first_calls * 0.99, False), (first.first_calls * 1.01, True)):
        found = api_side(plan, traffic(calls=calls))
        assert found.own_month_usd is not None and found.month_usd is not None
        assert (found.own_month_usd < found.month_usd) is wins


def test_more_calls_than_one_deployment_does_take_more_of_them():
    found = side(calls=1e6, utilisation=0.5, accelerators=8)
    assert found.machines is not None and found.groups == math.ceil(1e6 / found.machines.month_calls) > 1
    assert found.own_month_usd == pytest.approx(found.groups * 8 * 3.0 * 730)


def test_a_promise_leaves_fewer_calls_to_a_deployment():
    free = side(users=1, context=8192, accelerators=8)
    held = side(users=1, context=8192, accelerators=8, slo=Slo(tpot_s=0.02))
    assert free.machines is not None and held.machines is not None
    assert held.machines.calls_per_hour < free.machines.calls_per_hour


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"spec": LLAMA_405B, "accelerators": 1}, "fit"),
        ({"slo": Slo(ttft_s=0.001)}, "promise"),
    ],
)
def test_where_there_is_no_own_side_it_says_why(fields, why):
    found = side(calls=1000, **fields)
    assert found.machines is None and found.own_month_usd is None and found.crossing is None
    assert why in found.missing
    section = api_section(found)
    assert sum(why in row.note for row in section.rows) == 2
    assert len(api_steps(found)) == 2
    assert json.loads(json.dumps(found.as_json()))["own_usd_per_month"] is None


def test_where_no_price_is_known_the_api_still_has_one():
    plan = make_plan(GEMMA_LIKE, replace(hardware("h100-sxm"), usd_per_hour=None), Workload(context_tokens=8192))
    found = api_side(plan, traffic())
    assert found.month_usd and "--usd-per-hour" in found.missing


def test_the_section_and_the_steps_give_the_same_figures():
    found = side(accelerators=8)
    rows = {row.label: row for row in api_section(found).rows}
    steps = {step.name: step for step in api_steps(found)}
    assert rows["one call there"].value == steps["one call at the API"].result
    assert rows["a month there"].value == steps["a month at the API"].result
    assert rows["a month here"].value == steps["a month here"].result
    assert rows["owning wins from"].value == steps["owning wins from"].result
    assert rows["calls a month"].basis == "assumed"


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ((None, 5.0, None), BadInput, "--api"),
        ((None, None, 0.5), BadInput, "--api"),
        (("anthropic",), BadInput, "PROVIDER/MODEL"),
        (("nobody/x",), UnknownName, "nobody"),
        ((OPUS, -5.0), BadInput, "-5"),
        ((OPUS, math.inf), BadInput, "inf"),
        ((OPUS, None, 0.0), BadInput, "--utilisation"),
        ((OPUS, None, 2.0), BadInput, "2"),
    ],
)
def test_nonsense_is_refused(words, error, says):
    with pytest.raises(error) as refused:
        api_traffic(*words)
    assert says in f"{refused.value.message} {refused.value.hint}"
