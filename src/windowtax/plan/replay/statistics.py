"""What a trace looks like, and percentiles. Nearest rank: every figure shown is one that some request really had."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from windowtax.plan.replay.trace import Trace

SHOWN_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of some values: how many, their mean, percentiles 50, 90 and 99 (nearest rank), and the largest."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    largest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Distribution | None":
        """None where there are no values."""
        ranked = sorted(values)
        if not ranked:
            return None
        p50, p90, p99 = (percentile(ranked, share) for share in SHOWN_PERCENTILES)
        return cls(len(ranked), sum(ranked) / len(ranked), p50, p90, p99, ranked[-1])


def percentile(ranked: Sequence[float], percent: float) -> float:
    """The smallest of the rising values that at least `percent` of 100 of them do not exceed."""
    return ranked[max(0, ceil(len(ranked) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStatistics:
    """busiest_minute_requests: arrivals in the fullest minute that starts at one. repeated_tokens: those of prompts in

    whole blocks that an earlier request had already, which is what an endless cache finds.
    """

    num_requests: int
    duration_s: float
    requests_per_s: float
    busiest_minute_requests: int
    prompt: Distribution
    output: Distribution
    repeated_tokens: int

    @classmethod
    def of(cls, trace: Trace) -> "TraceStatistics":
        """Counts. The trace has at least one request."""
        prompt = Distribution.of(one.num_prompt_tokens for one in trace.requests)
        output = Distribution.of(one.num_output_tokens for one in trace.requests)
        assert prompt is not None and output is not None
        return cls(
            num_requests=len(trace.requests),
            duration_s=trace.duration_s,
            requests_per_s=len(trace.requests) / trace.duration_s if trace.duration_s else float(len(trace.requests)),
            busiest_minute_requests=_busiest_minute([one.arrival_s for one in trace.requests]),
            prompt=prompt,
            output=output,
            repeated_tokens=_repeated_tokens(trace),
        )


def _busiest_minute(arrivals: Sequence[float]) -> int:
    most = first = 0
    for last, arrival in enumerate(arrivals):
        while arrival - arrivals[first] >= 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def _repeated_tokens(trace: Trace) -> int:
    seen = bytearray(trace.num_keys)
    found = 0
    for request in trace.requests:
        usable = (request.num_prompt_tokens - 1) // trace.block_tokens
        for depth, key in enumerate(request.keys):
            if not seen[key]:
                break
            found += depth < usable
        for key in request.keys:
            seen[key] = 1
    return found * trace.block_tokens
