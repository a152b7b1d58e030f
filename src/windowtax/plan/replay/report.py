"""A whole replay: the trace's shape, hit rates by cache size, the exact replay on some replicas, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.cache.tiers import DEVICE
from windowtax.plan.replay.deployment import ReplayOptions, Replica, replica_sizes
from windowtax.plan.replay.fleet import play_all
from windowtax.plan.replay.hits import HitCurve, default_sizes, hit_curve
from windowtax.plan.replay.objective import Slo
from windowtax.plan.replay.played import Outcome
from windowtax.plan.replay.slo import HOURS_PER_MONTH, SloAnswer, busiest, fewest_replicas
from windowtax.plan.replay.statistics import Distribution, TraceStatistics
from windowtax.plan.replay.trace import Trace
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec

_MOST_RAISES = 8
MOST_REPLAYED_AGAIN = 50_000
"""Traces of up to so many requests are replayed as a whole with more replicas until the objective is met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary:
    """An exact replay of all replicas together.

    attained: per objective, the share of requests that met it. tpot: of requests with more than one output token.
    found_tokens: prompt tokens found, by the fastest tier that had them. refused: (line, why). busy: share of the time
    in which a replica had work; running: sequences at once while busy; held: share of the pool that live sequences held
    while busy. scheduled_tokens: computed, those included that were computed again after preemption, or because a step
    that would have found them found them gone.
    """

    replicas: int
    num_requests: int
    ttft: Distribution | None
    tpot: Distribution | None
    call: Distribution | None
    attained: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    found_tokens: tuple[tuple[str, int], ...]
    preemptions: int
    moves: int
    preempted_requests: int
    steps: int
    scheduled_tokens: int
    finished_s: float
    busy: float
    running: float
    held: float
    refused: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierPoint:
    """What one tier of a replica finds if all requests go through it. found_tokens counts the faster tiers' too."""

    name: str
    num_bytes: int
    found_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """answers: one per size of a replica; empty where the number of replicas was given. usd_*: None without a price."""

    trace: Trace
    spec: ModelSpec
    hardware: Hardware
    slo: Slo
    statistics: TraceStatistics
    hits: HitCurve
    tiers: tuple[TierPoint, ...]
    replica: Replica
    answers: tuple[SloAnswer, ...]
    searched_requests: int
    summary: ReplaySummary | None
    usd_per_hour: float | None
    notes: tuple[str, ...]

    @property
    def usd_per_month(self) -> float | None:
        """Of all accelerators, running all month."""
        return None if self.usd_per_hour is None else self.usd_per_hour * HOURS_PER_MONTH


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay. replicas: None for the fewest that meet the objective. search_requests: the busiest so many of

    the trace are searched with. hits_only: no clock, only hit rates. sizes_bytes: of caches; empty for usual ones.
    """

    slo: Slo
    replicas: int | None = None
    search_requests: int = 3000
    hits_only: bool = False
    sizes_bytes: tuple[int, ...] = ()


def replay(trace: Trace, spec: ModelSpec, hardware: Hardware, options: ReplayOptions, plan: ReplayPlan) -> ReplayReport:
    """Replays. Raises DoesNotFit, BadInput and UnknownName as its parts do."""
    sizes = replica_sizes(spec, hardware, trace, options)
    answers: list[SloAnswer] = []
    if plan.replicas is None and not plan.hits_only:
        peak = busiest(trace.requests, plan.search_requests)
        answers = [fewest_replicas(peak, one, plan.slo) for one in sizes]
    replica, replicas = _chosen(sizes, answers, plan)
    hits, tiers = _hits(trace, replica, options, plan)
    summary = None if plan.hits_only else play(trace, replica, replicas, plan.slo)
    met = any(answer.replicas is not None for answer in answers)
    for _ in range(_MOST_RAISES if met and len(trace.requests) <= MOST_REPLAYED_AGAIN else 0):
        if summary is None or not _falls_short(summary, plan.slo) or replicas >= len(trace.requests):
            break
        # The busiest requests were served in time, but a longer stretch was not: queues had not yet built up in it.
        replicas += max(1, replicas // _MOST_RAISES)
        summary = play(trace, replica, replicas, plan.slo)
    price = hardware.usd_per_hour
    return ReplayReport(
        trace=trace,
        spec=spec,
        hardware=hardware,
        slo=plan.slo,
        statistics=TraceStatistics.of(trace),
        hits=hits,
        tiers=tiers,
        replica=replica,
        answers=tuple(answers),
        searched_requests=min(plan.search_requests, len(trace.requests)) if answers else 0,
        summary=summary,
        usd_per_hour=None if price is None else price.value * replica.accelerators * replicas,
        notes=tuple(_notes(trace, replica, answers, summary, spec, plan.slo)),
    )


def _falls_short(summary: ReplaySummary, slo: Slo) -> bool:
    return not slo.is_met(summary.attained, summary.num_requests)


def play(trace: Trace, replica: Replica, replicas: int, slo: Slo, processes: int | None = None) -> ReplaySummary:
    """The exact replay: every request, on so many replicas, dealt out round robin. processes: as in `play_all`."""
    finished = play_all(replica, trace.requests, replicas, processes)
    results = [replayed for replayed, _ in finished]
    found = [sum(blocks) * trace.block_tokens for blocks in zip(*(blocks for _, blocks in finished), strict=True)]
    outcomes = [outcome for result in results for outcome in result.outcomes]
    refused = [(request.line, why) for result in results for request, why in result.refused]
    finished_s, busy_s = max(result.finished_s for result in results), sum(result.busy_s for result in results)
    pool_bytes = replica.rank.layout.pool_bytes(replica.num_blocks)
    return ReplaySummary(
        replicas=replicas,
        num_requests=len(trace.requests),
        ttft=Distribution.of(outcome.ttft_s for outcome in outcomes),
        tpot=Distribution.of(outcome.tpot_s for outcome in outcomes if outcome.tpot_s is not None),
        call=Distribution.of(outcome.finished_s - outcome.request.arrival_s for outcome in outcomes),
        attained=slo.shares(outcomes, len(trace.requests)),
        prompt_tokens=_prompt_tokens(outcomes),
        output_tokens=sum(outcome.request.num_output_tokens for outcome in outcomes),
        cached_tokens=sum(outcome.num_cached_tokens for outcome in outcomes),
        found_tokens=tuple(zip(replica.tier_names, found, strict=True)),
        preemptions=sum(result.num_preemptions for result in results),
        moves=sum(result.num_moves for result in results),
        preempted_requests=sum(outcome.num_preemptions > 0 for outcome in outcomes),
        steps=sum(result.num_steps for result in results),
        scheduled_tokens=sum(result.scheduled_tokens for result in results),
        finished_s=finished_s,
        busy=busy_s / (finished_s * replicas) if finished_s else 0.0,
        running=sum(result.sequence_s for result in results) / busy_s if busy_s else 0.0,
        held=sum(result.held_byte_s for result in results) / busy_s / pool_bytes if busy_s else 0.0,
        refused=tuple(refused),
    )


def _prompt_tokens(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.request.num_prompt_tokens for outcome in outcomes)


def _chosen(sizes: list[Replica], answers: list[SloAnswer], plan: ReplayPlan) -> tuple[Replica, int]:
    """The cheapest arrangement that meets the objective; the smallest replica where none does or none was asked."""
    meeting = [answer for answer in answers if answer.replicas is not None]
    if meeting:
        best = min(meeting, key=lambda answer: (answer.accelerators or 0, answer.replicas or 0))
        return best.replica, best.replicas or 1
    if answers:
        return max(answers, key=lambda answer: answer.attained).replica, 1
    return sizes[0], plan.replicas or 1


def _hits(
    trace: Trace, replica: Replica, options: ReplayOptions, plan: ReplayPlan
) -> tuple[HitCurve, tuple[TierPoint, ...]]:
    """The curve over the asked sizes, or over usual ones, and what each tier finds: all by one pass over the trace."""
    sizes = plan.sizes_bytes or default_sizes(trace, replica.block_bytes)
    named = [(DEVICE, replica.pool_bytes), *((tier.name, tier.num_bytes) for tier in replica.tiers)]
    named = [(name, size) for name, size in named if options.prefix_cache and size >= replica.block_bytes]
    curve = hit_curve(trace, replica.block_bytes, [*sizes, *(size for _, size in named)], options.policy)
    tiers = tuple(
        TierPoint(name=name, num_bytes=size, found_tokens=curve.at([size]).points[0].found_tokens)
        for name, size in named
    )
    asked = curve.at(sizes)
    return asked if plan.sizes_bytes else asked.without_tail(), tiers


def shares_text(shares: Sequence[float]) -> str:
    """Of each objective in turn."""
    return " / ".join(f"{share:.1%}" for share in shares)


def _notes(
    trace: Trace,
    replica: Replica,
    answers: Sequence[SloAnswer],
    summary: ReplaySummary | None,
    spec: ModelSpec,
    slo: Slo,
) -> list[str]:
    notes = list(trace.notes)
    longest = trace.longest.num_tokens
    if longest > spec.max_context_tokens:
        notes.append(
            f"The longest request has {longest:,} tokens; {spec.name} was made for {spec.max_context_tokens:,}: "
            "beyond that this is arithmetic only."
        )
    if answers and all(answer.replicas is None for answer in answers):
        notes.append(
            "No number of replicas meets the objective: too many requests miss it even when served alone, or the "
            "trace is too short to tell. Shown is one replica."
        )
    found = next((answer.replicas for answer in answers if answer.replica is replica), None)
    if summary is not None and found is not None and summary.replicas > found:
        notes.append(
            f"{found:,} replicas serve the busiest requests in time, but not the whole trace: it was replayed with "
            f"more, up to {summary.replicas:,}."
        )
    if summary is not None and found is not None and _falls_short(summary, slo):
        notes.append(
            f"Of the whole trace only {shares_text(summary.attained)} are in time: the busiest requests were too few. "
            "Take more of them (--search-requests)."
        )
    if summary is not None and summary.refused:
        line, why = summary.refused[0]
        notes.append(f"{len(summary.refused):,} requests can never be held and were refused; line {line}: {why}")
    if replica.options.prefix_cache:
        notes.append(
            "Prefixes are kept in blocks that no live sequence needs, and copied when they are found; where an engine "
            "shares them, as windowtax's own does, pools are a little less full than here."
        )
    return notes
