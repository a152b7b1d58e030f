"""How many replicas a service-level objective takes: bisection over exact replays.

Arrivals are dealt out round robin, so one of n replicas sees every n-th request: the search replays that one, and the
answer is checked on more of the n. A replay is given up as soon as too many requests have missed the objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.plan.replay.deployment import Replica
from windowtax.plan.replay.objective import Misses, Slo
from windowtax.plan.replay.played import Outcome
from windowtax.plan.replay.trace import TraceRequest

HOURS_PER_MONTH = 730
_CHECKED_REPLICAS = 3
_SMALLEST_SAMPLE = 200
_MOST_RAISES = 8
_STEPS = 16
"""Above so many replicas the answer is rounded up by up to a sixteenth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloAnswer:
    """replicas: the fewest found, None where no number of them is enough. attained: per objective, which share met it

    with that many (with one request per replica at a time, where None). replays: how many the search took.
    """

    replica: Replica
    replicas: int | None
    attained: tuple[float, ...]
    replays: int

    @property
    def accelerators(self) -> int | None:
        """All of them."""
        return None if self.replicas is None else self.replicas * self.replica.accelerators


def busiest(requests: Sequence[TraceRequest], count: int) -> Sequence[TraceRequest]:
    """The `count` requests in a row that came in the shortest time; arrivals count from the first of them."""
    if len(requests) <= count:
        return requests
    starts = range(len(requests) - count + 1)
    first = min(starts, key=lambda start: requests[start + count - 1].arrival_s - requests[start].arrival_s)
    began = requests[first].arrival_s
    return [
        TraceRequest(one.arrival_s - began, one.num_prompt_tokens, one.num_output_tokens, one.keys, one.line)
        for one in requests[first : first + count]
    ]


def fewest_replicas(requests: Sequence[TraceRequest], replica: Replica, slo: Slo) -> SloAnswer:
    """Searches. Requests that never fit count as missed."""
    replays = 0

    def attained(replicas: int, offset: int = 0) -> tuple[float, ...] | None:
        """Shares in time on one of so many replicas; None where an objective is missed."""
        nonlocal replays
        replays += 1
        # As many of the replicas as have requests enough between them to tell a share by.
        several = max(1, -(-_SMALLEST_SAMPLE * replicas // len(requests)))
        offsets = range(offset * several, min(replicas, (offset + 1) * several))
        return _attained([requests[one::replicas] for one in offsets], replica, slo)

    most = len(requests)
    low, high = 0, 1
    share = attained(high)
    while share is None and high < most:
        low, high = high, min(high * 2, most)
        share = attained(high)
    if share is None:
        return _never(requests, replica, slo, replays)
    while high - low > max(1, low // _STEPS):
        middle = (low + high) // 2
        found = attained(middle)
        if found is None:
            low = middle
        else:
            high, share = middle, found
    for _ in range(_MOST_RAISES):
        if None not in [share, *(attained(high, offset) for offset in range(1, min(high, _CHECKED_REPLICAS)))]:
            return SloAnswer(replica=replica, replicas=high, attained=share or (), replays=replays)
        if high >= most:
            break
        high = min(most, high + max(1, high // _STEPS))
        share = attained(high)
    return _never(requests, replica, slo, replays)


def _never(requests: Sequence[TraceRequest], replica: Replica, slo: Slo, replays: int) -> SloAnswer:
    """No number of replicas was enough: how many requests would be in time with a replica for themselves."""
    alone = [Outcome(one, *_alone(one, replica), 0, 0) for one in requests[:_SMALLEST_SAMPLE]]
    return SloAnswer(replica=replica, replicas=None, attained=slo.shares(alone, len(alone)), replays=replays)


def _attained(shares: Sequence[Sequence[TraceRequest]], replica: Replica, slo: Slo) -> tuple[float, ...] | None:
    """Shares in time of all requests, each list on a replica of its own; None as soon as too many are late."""
    misses = Misses(slo, max(1, sum(len(share) for share in shares)))
    for share in shares:
        simulator, _ = replica.simulator(stop=misses.add)
        misses.add_refused(len(simulator.run(share).refused))
        if misses.too_many:
            return None
    return misses.shares


def _alone(request: TraceRequest, replica: Replica) -> tuple[float, float]:
    """When its first and its last token come on a replica that does nothing else and has nothing cached."""
    simulator, _ = replica.simulator()
    result = simulator.run([request])
    if not result.outcomes:
        return float("inf"), float("inf")
    return result.outcomes[0].first_token_s, result.outcomes[0].finished_s
