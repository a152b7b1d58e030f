"""A trace through the real scheduler and the real block books, with a virtual clock instead of tensors (law 7).

The loop is the engine's: requests that have arrived are added, `schedule` chooses, `commit` books, sequences that
reached their length finish. Only the model is missing: a step takes the time that the roofline says.

Steps that leave nothing to choose are booked many at once (plan/replay/stretch.py): the same calls on the same books,
with several tokens in place of one. The Steps are those of the plain loop, as tests/plan/test_replay_simulate.py shows
by running both.
"""

from collections import deque
from collections.abc import Callable, Iterable

from windowtax.base.errors import DoesNotFit
from windowtax.cache.manager import CacheManager
from windowtax.plan.replay.played import CountedTokens, Outcome, Played, Replayed, played_of
from windowtax.plan.replay.reuse import PrefixReuse
from windowtax.plan.replay.step_time import StepTimer
from windowtax.plan.replay.stretch import Stretch, Stretches
from windowtax.plan.replay.tiers import PrefixTiers
from windowtax.plan.replay.trace import TraceRequest
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.step import Step

Observer = Callable[[Step, int], None]
"""Hears every step, and how many times in a row it happened, each time with every sequence one chunk further."""


class Simulator:
    """One replica. prefix: where earlier prompts are kept; None computes every prompt, as a bare engine does. Where the
    cache has a space for preempted sequences, a step waits for what is moved, at the rates that the space goes by.

    stop: asked after each finished request; True ends the replay early. at_once: whether stretches are booked at once.
    """

    def __init__(
        self,
        cache: CacheManager,
        config: SchedulerConfig,
        timer: StepTimer,
        prefix: PrefixTiers | None = None,
        *,
        observe: Observer | None = None,
        stop: Callable[[Outcome], bool] | None = None,
        at_once: bool = True,
    ) -> None:
        self.scheduler = Scheduler(config, cache)
        self.cache = cache
        self.now = 0.0
        self.result = Replayed()
        self._timer = timer
        self._reuse = None if prefix is None else PrefixReuse(prefix, self.scheduler)
        self._observe = observe
        self._stop = stop
        at_once = at_once and (prefix is None or prefix.only_shrinks)
        self._stretches = Stretches(self.scheduler, timer, self._reuse) if at_once else None
        self._arrivals: deque[tuple[int, TraceRequest]] = deque()

    def run(self, requests: Iterable[TraceRequest]) -> Replayed:
        """Plays the requests, which must be in order of arrival. Requests that can never fit are refused and listed."""
        self._arrivals = deque(enumerate(requests))
        scheduler, result, stretches = self.scheduler, self.result, self._stretches
        while result.complete and (self._arrivals or scheduler.has_work):
            if not scheduler.has_work and self._arrivals[0][1].arrival_s > self.now:
                self.now = self._arrivals[0][1].arrival_s
            self._arrive()
            if not scheduler.has_work:
                continue
            stretch = stretches.find() if stretches is not None else None
            if stretch is None:
                self._take_step()
            else:
                self._take_stretch(stretch)
        result.finished_s = self.now
        return result

    def _arrive(self) -> None:
        arrivals = self._arrivals
        while arrivals and arrivals[0][1].arrival_s <= self.now:
            index, request = arrivals.popleft()
            tokens = CountedTokens(request.num_prompt_tokens)
            played = Played(str(index), tokens, request.num_output_tokens, request=request)
            try:
                self.scheduler.add(played)
            except DoesNotFit as error:
                self.result.refused.append((request, error.message))

    def _take_step(self) -> None:
        """One step as the engine takes it."""
        reuse = self._reuse
        if reuse is not None:
            reuse.look_up()
        space = self.cache.space
        moved_s = 0.0 if space is None else space.moved_s
        step = self.scheduler.schedule()
        seconds = self._timer.step_s(step)
        if space is not None:
            seconds += space.moved_s - moved_s
        if reuse is not None:
            reuse.tiers.fit_device()
            for victim in step.preempted:
                reuse.let_go(played_of(victim))
            seconds = max(seconds, reuse.loads_s(step))
        if self._observe is not None:
            self._observe(step, 1)
        self.now += seconds
        self._account(1, step.num_tokens, seconds, self.cache.held_bytes)
        self.result.num_preemptions += len(step.preempted)
        self.result.num_moves += sum(victim.offloaded for victim in step.preempted)
        self.scheduler.commit(step)
        for chunk in step.chunks:
            played = played_of(chunk.sequence)
            if reuse is not None and played.held < len(played.request.keys):
                reuse.keep(played)
            if chunk.samples:
                self._book_token(played)

    def _take_stretch(self, stretch: Stretch) -> None:
        """All of its steps that begin before the next arrival."""
        cache, began, held_bytes = self.cache, self.now, self.cache.held_bytes
        due = float("inf") if stretch.deaf or not self._arrivals else self._arrivals[0][1].arrival_s
        assert self._stretches is not None
        self.now, steps = self._stretches.pass_time(stretch, began, due)
        if self._observe is not None:
            self._observe(stretch.first_step, steps)
        for played in stretch.decoders:
            self._compute(played, steps)
            played.sample(steps)
        if stretch.prompt is not None:
            self._compute(stretch.prompt, steps * stretch.room)
        mean_bytes = (held_bytes + cache.held_bytes) / 2
        self._account(steps, steps * stretch.tokens_per_step, self.now - began, mean_bytes)
        if self._reuse is not None:
            self._reuse.tiers.fit_device()
        if steps == stretch.until_end:
            for played in stretch.decoders:
                if played.num_output_tokens == played.max_output_tokens:
                    self._finish(played)
        if self._reuse is not None and stretch.prompt is not None:
            self._reuse.keep(stretch.prompt)

    def _compute(self, played: Played, tokens: int) -> None:
        """Books so many tokens of a sequence at once, as `schedule` and `commit` do for a chunk."""
        if not self.cache.reserve(played.sequence_id, played.num_computed_tokens, tokens):
            raise RuntimeError("blocks that were counted are not there")
        played.num_computed_tokens += tokens
        self.cache.trim(played.sequence_id, played.num_computed_tokens)

    def _account(self, steps: int, tokens: int, seconds: float, held_bytes: float) -> None:
        result = self.result
        result.busy_s += seconds
        result.num_steps += steps
        result.scheduled_tokens += tokens
        result.held_byte_s += held_bytes * seconds
        result.sequence_s += len(self.scheduler.running) * seconds

    def _book_token(self, played: Played) -> None:
        if played.first_token_s < 0:
            played.first_token_s = self.now
        played.sample(1)
        if played.num_output_tokens == played.max_output_tokens:
            self._finish(played)

    def _finish(self, played: Played) -> None:
        self.scheduler.finish(played)
        if self._reuse is not None:
            self._reuse.let_go(played)
        outcome = Outcome(
            played.request, played.first_token_s, self.now, played.num_cached_tokens, played.num_preemptions
        )
        self.result.outcomes.append(outcome)
        if self._stop is not None and self._stop(outcome):
            self.result.complete = False
