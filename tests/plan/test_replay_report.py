"""Hit curves, the search for replicas, and the report as a whole."""

from array import array
from dataclasses import replace

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_405B
from windowtax.base.errors import BadInput, DoesNotFit
from windowtax.base.units import GIB
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.replay.contract import report_json
from windowtax.plan.replay.deployment import ReplayOptions, replica_sizes
from windowtax.plan.replay.hits import default_sizes, hit_curve
from windowtax.plan.replay.objective import Misses, Objective, Slo, parse_slo
from windowtax.plan.replay.played import Outcome
from windowtax.plan.replay.report import ReplayPlan, play, replay
from windowtax.plan.replay.slo import busiest, fewest_replicas
from windowtax.plan.replay.statistics import TraceStatistics
from windowtax.plan.replay.trace import Trace, TraceRequest

BLOCK = 512
H100 = hardware("h100")
EASY = Slo((Objective(ttft_s=2, tpot_s=0.05),))


def trace_of(requests: list[TraceRequest]) -> Trace:
    keys = 1 + max((key for one in requests for key in one.keys), default=0)
    return Trace(name="made", format="mooncake", requests=tuple(requests), block_tokens=BLOCK, num_keys=keys)


def users(count: int, turns: int, gap_s: float) -> Trace:
    """Users in turn, each with a prompt that grows by four blocks a turn; the first block is everybody's."""
    requests: list[TraceRequest] = []
    for turn in range(turns):
        for user in range(count):
            own = [1 + user * 1000 + depth for depth in range(4 * (turn + 1))]
            line = len(requests) + 1
            requests.append(
                TraceRequest((line - 1) * gap_s, BLOCK * (len(own) + 1) + 7, 40, array("q", [0, *own]), line)
            )
    return trace_of(requests)


def test_a_cache_that_holds_everybody_finds_every_earlier_turn() -> None:
    trace = users(10, 5, 1.0)
    one_gib = 8 * BLOCK * 131_072 // 8  # 512 tokens of Llama-3.1-8B: 131,072 B each (facts/models.md 1.1)
    curve = hit_curve(trace, one_gib, [one_gib * 11, one_gib * 210, one_gib * 400])
    # Turn t finds 4 (t - 1) blocks of its own and the shared one, which also all but the first user find in turn 1.
    everything = BLOCK * (sum(10 * (4 * (turn - 1) + 1) for turn in range(1, 6)) - 1)
    assert curve.endless_tokens == everything == TraceStatistics.of(trace).repeated_tokens
    assert curve.points[-1].found_tokens == everything
    found = [point.found_tokens for point in curve.points]
    # A cache of eleven blocks keeps the shared block and not much else; one of 210 is just large enough for all.
    assert found == sorted(found) and found[0] < everything / 4 and found[1] == everything
    worse = hit_curve(trace, one_gib, [one_gib * 100], "fifo")
    better = hit_curve(trace, one_gib, [one_gib * 100], "lfu")
    assert worse.endless_tokens == everything and 0 < worse.points[0].found_tokens <= everything
    assert better.points[0].found_tokens <= everything


def test_sizes_are_checked_and_have_defaults() -> None:
    trace = users(10, 5, 1.0)
    with pytest.raises(BadInput, match="holds no block"):
        hit_curve(trace, 2**26, [2**20])
    sizes = default_sizes(trace, 2**26)
    assert sizes[0] >= GIB and sizes[-1] >= trace.num_keys * 2**26 and sizes == sorted(set(sizes))


def test_a_last_token_is_never_found() -> None:
    """The same prompt twice, of exactly two blocks: the last token must be computed, so one is used."""
    keys = array("q", [0, 1])
    trace = trace_of([TraceRequest(float(at), 2 * BLOCK, 1, keys, at) for at in range(2)])
    assert hit_curve(trace, 2**26, [2**30]).endless_tokens == BLOCK


def test_more_replicas_for_a_tighter_objective_and_more_traffic() -> None:
    needed: dict[tuple[float, float], int] = {}
    for gap_s in (0.12, 0.04):
        for ttft_s in (2.0, 0.3):
            trace = users(60, 4, gap_s)
            one = replica_sizes(LLAMA_8B, H100, trace, ReplayOptions(tensor_parallel=1))[0]
            answer = fewest_replicas(trace.requests, one, Slo((Objective(ttft_s=ttft_s, tpot_s=0.05),)))
            assert answer.replicas is not None and answer.attained[0] >= 0.9
            needed[gap_s, ttft_s] = answer.replicas
    assert needed[0.04, 0.3] >= needed[0.04, 2.0] > needed[0.12, 2.0]
    assert needed[0.04, 0.3] >= needed[0.12, 0.3] >= needed[0.12, 2.0]


def test_one_replica_fewer_misses_the_objective() -> None:
    trace, slo = users(60, 4, 0.04), Slo((Objective(ttft_s=1.0, tpot_s=0.05),))
    plan = ReplayPlan(slo=slo, replicas=None)
    options = ReplayOptions(tensor_parallel=1)
    found = replay(trace, LLAMA_8B, H100, options, plan)
    assert found.summary is not None and found.summary.attained[0] >= 0.88 and found.summary.replicas > 1
    fewer = replay(trace, LLAMA_8B, H100, options, replace(plan, replicas=found.summary.replicas - 1))
    assert fewer.summary is not None and fewer.summary.attained[0] < 0.9
    assert found.usd_per_month == pytest.approx(2.95 * 730 * found.summary.replicas)


def test_a_search_over_too_few_requests_is_corrected_by_the_whole_trace() -> None:
    """Ten requests end before a queue has built up; the whole trace does not."""
    trace, slo = users(60, 4, 0.04), Slo((Objective(ttft_s=1.0, tpot_s=0.05),))
    options = ReplayOptions(tensor_parallel=1)
    report = replay(trace, LLAMA_8B, H100, options, ReplayPlan(slo=slo, search_requests=10))
    assert report.summary is not None and report.answers[0].replicas is not None
    assert report.summary.replicas > report.answers[0].replicas
    assert report.summary.attained[0] >= 0.9
    assert any("not the whole trace" in note for note in report.notes)


def test_what_no_number_of_replicas_reaches_is_said() -> None:
    trace = users(30, 4, 0.05)
    report = replay(
        trace,
        LLAMA_8B,
        H100,
        ReplayOptions(tensor_parallel=1),
        ReplayPlan(slo=Slo((Objective(ttft_s=1e-4, tpot_s=1),))),
    )
    assert report.answers[0].replicas is None
    assert any("No number of replicas" in note for note in report.notes)


def test_percentiles_are_objectives_of_their_own() -> None:
    trace, options = users(60, 4, 0.04), ReplayOptions(tensor_parallel=1)
    plain = replay(trace, LLAMA_8B, H100, options, ReplayPlan(slo=parse_slo("1s", "50ms"))).summary
    assert plain is not None and plain.ttft is not None
    more = replay(trace, LLAMA_8B, H100, options, ReplayPlan(slo=EASY, replicas=plain.replicas + 1)).summary
    assert more is not None and more.ttft is not None and more.ttft.p99 < plain.ttft.p99
    # A p99 that the replicas do not keep that keep the plain objective, and one more do; and a p50 that both keep.
    between = (plain.ttft.p99 + more.ttft.p99) / 2
    slo = parse_slo(f"p50:{plain.ttft.p50 + 1e-6}s,p99:{between}s", "p90:50ms")
    strict = replay(trace, LLAMA_8B, H100, options, ReplayPlan(slo=slo)).summary
    assert strict is not None and strict.ttft is not None and strict.tpot is not None
    assert strict.replicas > plain.replicas
    assert strict.ttft.p50 <= plain.ttft.p50 + 1e-6 and strict.ttft.p99 <= between and strict.tpot.p90 <= 0.05
    assert strict.attained[0] >= 0.5 and strict.attained[1] >= 0.99


def test_bare_times_are_one_objective_and_nonsense_is_refused() -> None:
    assert parse_slo("5s", "100ms", 95).objectives == (Objective(ttft_s=5, tpot_s=0.1, percent=95),)
    assert parse_slo("5s,p99.9:8s", "p50:40ms").objectives == (
        Objective(ttft_s=5, percent=90),
        Objective(ttft_s=8, percent=99.9),
        Objective(tpot_s=0.04, percent=50),
    )
    percentiles = parse_slo("p50:200ms,p99:1s", "p90:50ms")
    assert str(percentiles) == "TTFT p50 200.00 ms, TTFT p99 1.00 s, TPOT p90 50.00 ms"
    for ttft in ("5s,6s", "99:5s", "p101:5s", "p0:5s", "px:5s", "p99:0s", "p99:", ""):
        with pytest.raises(BadInput):
            parse_slo(ttft, "100ms")


def test_refused_and_late_requests_miss_what_they_missed() -> None:
    """Ten requests, of which p90 lets one miss and p50 five."""
    misses = Misses(parse_slo("p50:1s,p90:3s", "p90:1s"), 10)
    outcomes = [Outcome(TraceRequest(0.0, 8, 2, array("q"), 1), first, first + 0.5, 0, 0) for first in (0.5, 2.0, 4.0)]
    assert [misses.add(outcome) for outcome in outcomes] == [False, False, False]
    assert misses.shares == (0.8, 0.9, 1.0)
    misses.add_refused(1)
    assert misses.too_many and misses.shares == pytest.approx((0.7, 0.8, 0.9))


def test_processes_find_what_one_process_finds() -> None:
    trace = users(60, 6, 0.02)
    options = ReplayOptions(tensor_parallel=1, host_bytes=8 * GIB)
    replica = replica_sizes(LLAMA_8B, H100, trace, options)[0]
    # One request can never be held: it must come back too.
    endless = replace(trace.requests[-1], num_prompt_tokens=10**7, line=361)
    trace = replace(trace, requests=(*trace.requests, endless))
    one, two = (play(trace, replica, 3, EASY, processes) for processes in (1, 2))
    assert one == two
    assert one.refused[0][0] == 361 and len(one.found_tokens) == 2 and one.cached_tokens > 0


def test_the_busiest_stretch_is_found_and_starts_at_zero() -> None:
    times = [0.0, 10.0, 20.0, 20.5, 21.0, 40.0]
    requests = [TraceRequest(at, 10, 1, array("q"), line) for line, at in enumerate(times)]
    assert [(one.line, one.arrival_s) for one in busiest(requests, 3)] == [(2, 0.0), (3, 0.5), (4, 1.0)]
    assert busiest(requests, 9) == requests


def test_the_pool_is_what_the_weights_leave() -> None:
    trace = users(3, 2, 1.0)
    one, two = replica_sizes(LLAMA_8B, H100, trace, ReplayOptions())[:2]
    weights = 16_060_522_496  # bf16 bytes of Llama-3.1-8B: 8,030,261,248 parameters (facts/models.md 1.1)
    left = H100.usable_bytes - weights - one.pool_bytes
    assert 0 < left < 2 * GIB  # activations and logits of 256 sequences
    assert two.pool_bytes > 2 * one.pool_bytes
    with pytest.raises(DoesNotFit, match="no room for a request"):
        replica_sizes(LLAMA_405B, H100, trace, ReplayOptions(tensor_parallel=4))
    with pytest.raises(BadInput, match="cannot be split"):
        replica_sizes(LLAMA_8B, H100, trace, ReplayOptions(tensor_parallel=3))


def test_without_a_prefix_cache_everything_is_computed() -> None:
    trace, plan = users(8, 3, 0.5), ReplayPlan(slo=EASY, replicas=1)
    cold = replay(trace, LLAMA_8B, H100, ReplayOptions(prefix_cache=False), plan).summary
    warm = replay(trace, LLAMA_8B, H100, ReplayOptions(), plan).summary
    assert cold is not None and warm is not None
    output = trace.num_output_tokens - len(trace.requests)  # the last one of each is sampled and never computed
    assert cold.scheduled_tokens == trace.num_prompt_tokens + output and cold.cached_tokens == 0
    assert warm.scheduled_tokens == cold.scheduled_tokens - warm.cached_tokens
    # A roomy pool and requests far apart: what is found is what an endless cache finds.
    assert warm.cached_tokens == TraceStatistics.of(trace).repeated_tokens
    assert warm.ttft is not None and cold.ttft is not None and warm.ttft.mean < cold.ttft.mean


def test_the_json_has_units_bases_and_exact_counts() -> None:
    trace = users(8, 3, 0.5)
    plan = ReplayPlan(slo=EASY, replicas=2, sizes_bytes=(2 * GIB, 64 * GIB))
    options = ReplayOptions(host_bytes=64 * GIB, disk_bytes=1024 * GIB)
    made = report_json(replay(trace, LLAMA_8B, H100, options, plan))
    assert made["trace"]["num_requests"] == 24 and made["trace"]["basis"] == "measured"
    assert [one["bytes"] for one in made["hits"]["sizes"]] == [2 * GIB, 64 * GIB]
    assert [one["tier"] for one in made["hits"]["tiers"]] == ["device", "host", "disk"]
    assert set(made["replay"]["ttft_s"]) == {"mean", "p50", "p90", "p99", "max"}
    assert made["replay"]["replicas"] == 2 and made["cost"]["usd_per_month"] == pytest.approx(2 * 2.95 * 730)
    only = report_json(replay(trace, LLAMA_8B, H100, ReplayOptions(), ReplayPlan(slo=EASY, hits_only=True)))
    assert only["replay"] is None and only["hits"]["endless"]["rate"] > 0
