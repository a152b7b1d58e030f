"""Load: what users see when many are served at once, where the latency curve bends, and what a promise to them takes.

A closed system: each of `users` people asks again as soon as the last answer is complete. Between two of a user's
tokens the machine may read other users' prompts (chunked prefill, one step for both); a prompt waits for others before
it. Beyond the windows that memory holds, whole requests wait.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from windowtax.base.errors import BadInput
from windowtax.base.units import format_seconds
from windowtax.plan.fit import Deployment, Fit, Sizing
from windowtax.plan.parallel import Group
from windowtax.plan.waiting import Between, Waiting

_SECONDS = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|)\s*$")
_CHUNK_SAMPLES = 8
_MOST_POINTS = 24


@dataclass(frozen=True, kw_only=True)
class LoadPoint:
    """One replica under `users` users. in_flight: those whose window is in memory; the others wait at the door.

    ttft_s: mean, waiting included. between: the tokens after the first. output_tokens_per_s: of the replica. Of ttft_s,
    while all windows fit: queue_s, until a prompt is read among those of `asking` users, each of prompt_s; step_s, for
    the step under way.
    """

    users: int
    in_flight: int
    ttft_s: float
    between: Between
    requests_per_s: float
    output_tokens_per_s: float
    prompt_s: float
    asking: int
    queue_s: float
    step_s: float

    @cached_property
    def waiting(self) -> Waiting:
        """The queue of prompts."""
        return Waiting.of(self.prompt_s, self.asking, self.queue_s)

    def ttft_within_s(self, percent: float) -> float | None:
        """The time in which so many of 100 first tokens come; None where requests wait for memory."""
        return None if self.waits else self.waiting.within_s(percent) + self.step_s

    @property
    def tpot_s(self) -> float:
        """Mean time per token after the first."""
        return self.between.tpot_s

    def tpot_within_s(self, percent: float) -> float:
        """What so many of 100 answers take per token after the first, each on its own average."""
        return self.between.within_s(percent)

    @property
    def waits(self) -> bool:
        """Whether memory is full and requests wait for a window: saturation."""
        return self.users > self.in_flight


@dataclass(frozen=True, kw_only=True)
class Load:
    """A replica and what each user asks. most_in_flight: windows that its memory holds."""

    group: Group
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    chunk_tokens: int
    most_in_flight: int

    @classmethod
    def of(cls, sizing: Sizing, deployment: Deployment) -> "Load":
        """The load of a sizing's workload on one replica of a deployment. Raises BadInput where it holds no window."""
        ranks, stages = deployment.tensor_parallel, deployment.pipeline_stages
        most = sizing.most_users(ranks, stages, deployment.ring, deployment.expert_parallel)
        if not most:
            raise BadInput("Not even one window fits, so there is no load to speak of.", "Take more accelerators.")
        workload = sizing.workload
        return cls(
            group=Group.of(sizing, deployment),
            prompt_tokens=workload.prompt_tokens,
            output_tokens=workload.output_tokens,
            cached_tokens=workload.cached_tokens,
            chunk_tokens=sizing.chunk_tokens,
            most_in_flight=most,
        )

    def at(self, users: int, requests_per_user: int | None = None) -> LoadPoint:
        """What `users` users see. Where memory is full, the wait at the door is Little's law.

        requests_per_user: of a benchmark that starts with all users at once; None: steady. The means of such a
        benchmark hold the queue of its start, of one request of each user.
        """
        in_flight = min(users, self.most_in_flight)
        held, others = self.group.users_per_stream(in_flight), self.group.users_per_stream(in_flight) - 1
        steps = self.output_tokens - 1
        prompt_s, step_s = self._prompt_s(others), self.group.step_s(self._mean_tokens, held)
        between = Between(steps, step_s, prompt_s, self._chunks, others)
        decode_s = steps * between.tpot_s
        queue_s, rest_s = self._wait(held, prompt_s, decode_s), step_s / 2 if others else 0.0
        ttft_s = queue_s + rest_s
        rate = in_flight / (ttft_s + decode_s)
        if users > in_flight:
            ttft_s = users / rate - decode_s
        elif requests_per_user:
            ttft_s += (self._start_s(held) - ttft_s) / requests_per_user
        return LoadPoint(
            users=users,
            in_flight=in_flight,
            ttft_s=ttft_s,
            between=between,
            requests_per_s=rate,
            output_tokens_per_s=rate * self.output_tokens,
            prompt_s=prompt_s,
            asking=held,
            queue_s=queue_s,
            step_s=rest_s,
        )

    def curve(self) -> tuple[LoadPoint, ...]:
        """Throughput and latency from one user to as many as memory holds, and twice that: the queue."""
        return (*(self.at(users) for users in self._counts()), self.at(2 * self.most_in_flight))

    @cached_property
    def knee(self) -> LoadPoint:
        """Where throughput / latency of a token is largest (Kleinrock's power), of users whose windows fit.

        Before it each user more adds throughput at little cost to the others, behind it mostly cost: without prompts
        in between it is where the users' own reading takes as long as what all share (weights and overhead).
        """
        return max((self.at(users) for users in self._counts()), key=lambda at: at.output_tokens_per_s / at.tpot_s)

    def most_users_within(self, slo: "Slo") -> LoadPoint | None:
        """The most users of whom each gets what is promised; None where not even one does."""
        low, high = 0, self.most_in_flight
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if slo.kept(self.at(middle)) else (low, middle - 1)
        return self.at(low) if low else None

    @property
    def _mean_tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens // 2

    @property
    def _chunks(self) -> int:
        return -(-(self.prompt_tokens - self.cached_tokens) // self.chunk_tokens)

    def _prompt_s(self, others: int) -> float:
        """Reading one prompt in chunks, each beside a decode step of `others`; long ones by samples of their chunks."""
        first, last = self.cached_tokens, self.prompt_tokens
        if self.group.rank.ring > 1:
            alone = self.group.prefill(last - first, first, self.chunk_tokens).overlap_s
            return alone + (self.group.step_s(self._mean_tokens, others) if others else 0.0)
        starts = range(first, last, self.chunk_tokens)
        # A chunk's time is nearly a straight line in its start, so a few chunks stand for all full ones.
        full = starts[:-1]
        samples = full[:: max(1, len(full) // _CHUNK_SAMPLES)]
        seconds = self.group.step_s(self._mean_tokens, others, last - starts[-1], starts[-1])
        if samples:
            times = [self.group.step_s(self._mean_tokens, others, self.chunk_tokens, start) for start in samples]
            shift = (full[-1] + full[0]) / 2 - sum(samples) / len(samples)
            slope = (times[-1] - times[0]) / (samples[-1] - samples[0]) if len(samples) > 1 else 0.0
            seconds += len(full) * (sum(times) / len(times) + slope * shift)
        return seconds

    def _wait(self, held: int, prompt_s: float, decode_s: float) -> float:
        """Time from asking to the first token: mean value analysis (Reiser & Lavenberg 1980) of one queue.

        An arriving prompt meets the queue of a system with one user less; of the prompt being read half is left.
        """
        queue, seconds = 0.0, prompt_s
        for users in range(1, held + 1):
            busy = min(1.0, (users - 1) * prompt_s / (seconds + decode_s))
            seconds = prompt_s * (1 + max(0.0, queue - busy / 2))
            queue = users * seconds / (seconds + decode_s)
        return seconds

    def _start_s(self, held: int) -> float:
        """Mean time to the first token where all ask at once: prompts that fit into one chunk are read together."""
        together = max(1, self.chunk_tokens // max(1, self.prompt_tokens - self.cached_tokens))
        prompts_before = [min(held, -(-place // together) * together) for place in range(1, held + 1)]
        return sum(prompts_before) / held * self._prompt_s(0)

    def _counts(self) -> Iterator[int]:
        """User counts from 1 to most_in_flight, about equally far apart in ratio."""
        ratio, last = max(1.15, self.most_in_flight ** (1 / _MOST_POINTS)), 0
        count = 1.0
        while round(count) < self.most_in_flight:
            if round(count) > last:
                last = round(count)
                yield last
            count *= ratio
        yield self.most_in_flight


@dataclass(frozen=True, kw_only=True)
class Slo:
    """A promise: seconds to the first token, seconds per token after it. None: not promised.

    ttft_percent, tpot_percent: of how many of 100 answers; None: their mean.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    ttft_percent: float | None = None
    tpot_percent: float | None = None

    def __post_init__(self) -> None:
        for percent in (self.ttft_percent, self.tpot_percent):
            if percent is not None and not 0 < percent < 100:
                raise BadInput(f"p{percent:g} is no percentile.", "Take one between 0 and 100, such as p90:2s.")
        if any(value is not None and value <= 0 for value in (self.ttft_s, self.tpot_s)):
            raise BadInput("A promise of no time at all cannot be kept.", "Give seconds above 0, such as 2s or 50ms.")

    def kept(self, point: LoadPoint) -> bool:
        """Whether these users get it."""
        percent = self.tpot_percent
        if (
            self.tpot_s is not None
            and (point.tpot_s if percent is None else point.tpot_within_s(percent)) > self.tpot_s
        ):
            return False
        if self.ttft_s is None:
            return True
        seen = point.ttft_s if self.ttft_percent is None else point.ttft_within_s(self.ttft_percent)
        return seen is not None and seen <= self.ttft_s

    @property
    def words(self) -> str:
        """What is promised: "TTFT p90 <= 2.00 s and mean TPOT <= 50.00 ms"."""
        parts = (("TTFT", self.ttft_s, self.ttft_percent), ("TPOT", self.tpot_s, self.tpot_percent))
        return " and ".join(
            f"{f'mean {what}' if percent is None else f'{what} p{percent:g}'} <= {format_seconds(limit)}"
            for what, limit, percent in parts
            if limit is not None
        )


def parse_seconds(text: str) -> float:
    """Seconds from "2s", "50ms" or "0.05". Raises BadInput."""
    match = _SECONDS.match(text)
    if match is None:
        raise BadInput(f"{text!r} is not a time.", "Write 2s or 50ms.")
    return float(match.group(1)) * (1e-3 if match.group(2) == "ms" else 1)


def parse_promise(text: str) -> tuple[float, float | None]:
    """Seconds, and the percentile that is promised, None for the mean, from "2s" or "p90:2s". Raises BadInput."""
    percentile, colon, time = text.strip().partition(":")
    if not colon:
        return parse_seconds(text), None
    if not re.fullmatch(r"p[0-9]+(\.[0-9]+)?", percentile):
        raise BadInput(f"{text!r} is no promise.", "Write 2s for a mean, or p90:2s for nine of ten; one promise.")
    return parse_seconds(time), float(percentile[1:])


@dataclass(frozen=True, kw_only=True)
class Promise:
    """The smallest deployment that keeps an Slo for the workload's users. point: one of its replicas."""

    slo: Slo
    fit: Fit
    users_per_replica: int
    point: LoadPoint


def fewest_for(sizing: Sizing, slo: Slo, shapes: list[Deployment]) -> Promise | None:
    """Of replicas shaped like these, the fewest accelerators that keep the promise; None where no shape does."""
    found: list[Promise] = []
    for shape in shapes:
        try:
            point = Load.of(sizing, shape).most_users_within(slo)
        except BadInput:
            continue
        if point is None:
            continue
        replicas = -(-sizing.workload.users // point.users)
        fit = sizing.fit(replace(shape, replicas=replicas))
        if fit.fits:
            busy = Load.of(sizing, shape).at(-(-sizing.workload.users // replicas))
            found.append(Promise(slo=slo, fit=fit, users_per_replica=point.users, point=busy))
    return min(found, key=lambda one: (one.fit.deployment.accelerators, one.point.tpot_s), default=None)
