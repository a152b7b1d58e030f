"""Service-level objectives: which share of the requests must be how fast."""

from collections.abc import Iterable
from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.base.units import format_seconds
from windowtax.plan.knee import parse_seconds
from windowtax.plan.replay.played import Outcome

ANY = float("inf")
"""Where a time does not matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """At least `percent` of 100 requests see their first token within ttft_s and the others tpot_s apart.

    So with one of the times it is a limit on that percentile: TTFT p99, or TPOT p50. tpot_s is held against a request's
    mean time per token after the first.
    """

    ttft_s: float = ANY
    tpot_s: float = ANY
    percent: float = 90.0

    def __post_init__(self) -> None:
        if not (self.ttft_s > 0 and self.tpot_s > 0 and 0 < self.percent <= 100):
            raise BadInput(f"{self} is no objective.", "Times are above 0, and percentiles above 0 and at most 100.")

    def __str__(self) -> str:
        limits = [
            f"{name} p{self.percent:g} {format_seconds(limit) if limit > 0 else limit}"
            for name, limit in (("TTFT", self.ttft_s), ("TPOT", self.tpot_s))
            if limit != ANY
        ]
        if len(limits) < 2:
            return "".join(limits)
        ttft, tpot = format_seconds(self.ttft_s), format_seconds(self.tpot_s)
        return f"TTFT {ttft} and TPOT {tpot} for {self.percent:g}% of requests"

    def met_by(self, outcome: Outcome) -> bool:
        """Whether this request was served in time."""
        return outcome.ttft_s <= self.ttft_s and (outcome.tpot_s or 0.0) <= self.tpot_s

    def misses_allowed(self, num_requests: int) -> int:
        """How many of so many requests may miss it."""
        return int(num_requests * (100 - self.percent) / 100 + 1e-9)


@dataclass(frozen=True, slots=True)
class Slo:
    """Objectives that must all be met."""

    objectives: tuple[Objective, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.objectives))

    def shares(self, outcomes: Iterable[Outcome], num_requests: int) -> tuple[float, ...]:
        """Per objective, the share of so many requests that met it; those without an outcome did not."""
        met = [0] * len(self.objectives)
        for outcome in outcomes:
            for index, objective in enumerate(self.objectives):
                met[index] += objective.met_by(outcome)
        return tuple(count / num_requests for count in met)

    def is_met(self, shares: Iterable[float], num_requests: int) -> bool:
        """Whether such shares of so many requests are enough."""
        pairs = zip(self.objectives, shares, strict=True)
        return all((1 - share) * num_requests <= one.misses_allowed(num_requests) + 0.5 for one, share in pairs)


class Misses:
    """Counts how often so many requests missed each objective, until one was missed too often."""

    def __init__(self, slo: Slo, num_requests: int) -> None:
        self._objectives = slo.objectives
        self._num_requests = num_requests
        self._allowed = [one.misses_allowed(num_requests) for one in slo.objectives]
        self._missed = [0] * len(slo.objectives)

    def add(self, outcome: Outcome) -> bool:
        """Counts one; whether there are too many now."""
        for index, objective in enumerate(self._objectives):
            self._missed[index] += not objective.met_by(outcome)
        return self.too_many

    def add_refused(self, count: int) -> None:
        """Requests that were never served miss everything."""
        self._missed = [missed + count for missed in self._missed]

    @property
    def too_many(self) -> bool:
        """Whether an objective can no longer be met."""
        return any(missed > allowed for missed, allowed in zip(self._missed, self._allowed, strict=True))

    @property
    def shares(self) -> tuple[float, ...]:
        """Per objective, the share that met it."""
        return tuple(1 - missed / self._num_requests for missed in self._missed)


def parse_slo(ttft: str, tpot: str, percent: float = 90.0) -> Slo:
    """From "5s", "p50:1s,p99:5s" and the like. Raises BadInput.

    A bare time of the one and a bare time of the other are one objective: `percent` of the requests keep both.
    """
    together: dict[str, float] = {}
    percentiles: list[Objective] = []
    for name, text in (("ttft_s", ttft), ("tpot_s", tpot)):
        for part in text.split(","):
            rank, colon, limit = part.strip().rpartition(":")
            if colon:
                percentiles.append(Objective(**{name: parse_seconds(limit), "percent": _percent(rank)}))
            elif name in together:
                raise BadInput(f"{text!r} has two times without a percentile.", "Write p50:1s,p99:5s.")
            else:
                together[name] = parse_seconds(limit)
    first = (Objective(**together, percent=percent),) if together else ()
    return Slo((*first, *percentiles))


def _percent(rank: str) -> float:
    try:
        return float(rank.removeprefix("p")) if rank.startswith("p") else float("nan")
    except ValueError:
        raise BadInput(f"{rank!r} is no percentile.", "Write p50, p90, p99 or p99.9.") from None
