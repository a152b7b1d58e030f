"""A trace through the real scheduler and the real block books, with a virtual clock instead of tensors (law 7).

The loop is the engine's: requests that have arrived are added, `schedule` chooses, `commit` books, sequences that
reached their length finish. Only the model is missing: a step takes the time that the roofline says.

Where the next steps can be told from this one (all running sequences decode, nobody can join or ends, nobody arrives,
there are blocks enough), they are booked at once: the same calls on the same objects, with several tokens in place of
one. The Steps are those of the plain loop, as tests/plan/test_replay_simulate.py shows by running both.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from windowtax.base.errors import DoesNotFit
from windowtax.cache.manager import CacheManager
from windowtax.plan.replay.step_time import StepTimer
from windowtax.plan.replay.tiers import PrefixTiers
from windowtax.plan.replay.trace import TraceRequest
from windowtax.schedule import sequence as schedule_sequence
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.step import Chunk, Step

Observer = Callable[[Step, int], None]
"""Hears every step, and how many times in a row it happened, each time one token further."""


class CountedTokens(list[int]):
    """Stands for token ids where only their number matters: the scheduler asks for nothing else."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def __len__(self) -> int:
        return self.length


@dataclass(eq=False)
class Played(schedule_sequence.Sequence):
    """A sequence of the replay. held: blocks of its keys on which it holds a reference. Times are of the clock."""

    request: TraceRequest = field(kw_only=True)
    held: int = 0
    num_cached_tokens: int = 0
    load_s: float = 0.0
    first_token_s: float = -1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request saw, in s of the clock. num_cached_tokens: of its prompt, when it first ran."""

    request: TraceRequest
    first_token_s: float
    finished_s: float
    num_cached_tokens: int
    num_preemptions: int

    @property
    def ttft_s(self) -> float:
        """From arrival to the first token."""
        return self.first_token_s - self.request.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Per output token after the first; None where there is none."""
        after = self.request.num_output_tokens - 1
        return (self.finished_s - self.first_token_s) / after if after else None


@dataclass(slots=True)
class Replayed:
    """A replay. refused: requests that the pool can never hold, with the scheduler's words. finished_s: the last token.

    busy_s: the clock while anything ran. num_steps: of the scheduler. scheduled_tokens: computed in them, those that
    were computed again included. held_byte_s: bytes of live sequences' blocks, integrated over the time.
    sequence_s: running sequences, likewise. complete: False where the caller stopped it.
    """

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    refused: list[tuple[TraceRequest, str]] = field(default_factory=list[tuple[TraceRequest, str]])
    finished_s: float = 0.0
    busy_s: float = 0.0
    num_steps: int = 0
    scheduled_tokens: int = 0
    num_preemptions: int = 0
    held_byte_s: float = 0.0
    sequence_s: float = 0.0
    complete: bool = True


class Simulator:
    """One replica. prefix: where earlier prompts are kept; None computes every prompt, as a bare engine does.

    stop: asked after each finished request; True ends the replay early. at_once: whether equal steps are booked at
    once.
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
        self._prefix = prefix
        self._observe = observe
        self._stop = stop
        self._at_once = at_once and (prefix is None or prefix.only_shrinks)
        self._arrivals: deque[tuple[int, TraceRequest]] = deque()
        # Where no layer ever gives blocks back before a sequence ends, free blocks only shrink while all decode.
        self._only_grows = all(group.cache.grows for group in cache.layout.groups)

    def run(self, requests: Iterable[TraceRequest]) -> Replayed:
        """Plays the requests, which must be in order of arrival. Requests that can never fit are refused and listed."""
        self._arrivals = deque(enumerate(requests))
        scheduler, result = self.scheduler, self.result
        while result.complete and (self._arrivals or scheduler.has_work):
            if not scheduler.has_work and self._arrivals[0][1].arrival_s > self.now:
                self.now = self._arrivals[0][1].arrival_s
            self._arrive()
            if scheduler.has_work:
                self._step()
                if self._at_once:
                    self._step_on()
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

    def _step(self) -> None:
        """One step as the engine takes it."""
        if self._prefix is not None:
            self._look_up()
        step = self.scheduler.schedule()
        seconds = self._timer.step_s(step)
        if self._prefix is not None:
            self._prefix.fit_device()
            for victim in step.preempted:
                self._let_go(_played(victim))
            seconds = max(seconds, self._loads_s(step))
        if self._observe is not None:
            self._observe(step, 1)
        self._account(1, step.num_tokens, seconds)
        self.result.num_preemptions += len(step.preempted)
        self.scheduler.commit(step)
        for chunk in step.chunks:
            played = _played(chunk.sequence)
            if self._prefix is not None and played.held < len(played.request.keys):
                self._keep(played)
            if chunk.samples:
                self._book_token(played)

    def _account(self, steps: int, tokens: int, seconds: float) -> None:
        result = self.result
        self.now += seconds
        result.busy_s += seconds
        result.num_steps += steps
        result.scheduled_tokens += tokens
        result.held_byte_s += self.cache.held_bytes * seconds
        result.sequence_s += len(self.scheduler.running) * seconds

    def _book_token(self, played: Played) -> None:
        if played.first_token_s < 0:
            played.first_token_s = self.now
        tokens = played.token_ids
        assert isinstance(tokens, CountedTokens)
        tokens.length += 1
        if played.num_output_tokens < played.max_output_tokens:
            return
        self.scheduler.finish(played)
        if self._prefix is not None:
            self._let_go(played)
        outcome = Outcome(
            played.request, played.first_token_s, self.now, played.num_cached_tokens, played.num_preemptions
        )
        self.result.outcomes.append(outcome)
        if self._stop is not None and self._stop(outcome):
            self.result.complete = False

    # --- steps that can be told from the last one ---------------------------------------------------------------

    def _step_on(self) -> None:
        """Books as many further steps as must be one decoded token for each running sequence, at once."""
        running = self.scheduler.running
        if not running or (self._arrivals and self._arrivals[0][1].arrival_s <= self.now):
            return
        steps = self._sure_steps(running)
        if steps < 2 or not self._nobody_joins(running):
            return
        first = Step(tuple(Chunk(one, one.num_computed_tokens, 1) for one in running)) if self._observe else None
        began, held = self.now, self.cache.held_bytes
        steps = self._pass_time(running, steps)
        if not steps:
            return
        reserve, trim = self.cache.reserve, self.cache.trim
        for played in running:
            if not reserve(played.sequence_id, played.num_computed_tokens, steps):
                raise RuntimeError("blocks that were counted are not there")
            tokens = played.token_ids
            assert isinstance(tokens, CountedTokens)
            tokens.length += steps
            played.num_computed_tokens += steps
            if not self._only_grows:
                trim(played.sequence_id, played.num_computed_tokens)
        self.result.held_byte_s += (held + self.cache.held_bytes) / 2 * (self.now - began)
        if self._observe is not None and first is not None:
            self._observe(first, steps)
        if self._prefix is not None:
            self._prefix.fit_device()

    def _sure_steps(self, running: Sequence[schedule_sequence.Sequence]) -> int:
        """How many steps, at most, nobody ends and no block is missing, if all decode; 0 where one does not."""
        if len(running) > self.scheduler.config.max_step_tokens:
            return 0
        steps = 2**62
        for played in running:
            length = len(played.token_ids)
            if length - played.num_computed_tokens != 1 or length == played.num_prompt_tokens:
                return 0
            left = played.num_prompt_tokens + played.max_output_tokens - length
            if left <= steps:
                steps = left
        # The step that ends a sequence is left to the plain loop.
        return self._steps_with_blocks(running, steps - 1)

    def _steps_with_blocks(self, running: Sequence[schedule_sequence.Sequence], steps: int) -> int:
        """At most so many steps, fewer where blocks would run short: then exact for a guess that is halved."""
        pools, cache = self.cache.pools, self.cache
        # n tokens need at most ceil(n / block_size) new blocks in any group.
        if -(-steps // cache.layout.block_size) * len(running) <= min(pool.num_free for pool in pools):
            return steps
        while steps > 1:
            total = [0] * len(pools)
            for played in running:
                missing = cache.blocks_missing(played.sequence_id, played.num_computed_tokens, steps)
                total = [so_far + count for so_far, count in zip(total, missing, strict=True)]
            if all(count <= pool.num_free for count, pool in zip(total, pools, strict=True)):
                return steps
            steps //= 2
        return 0

    def _nobody_joins(self, running: Sequence[schedule_sequence.Sequence]) -> bool:
        """Whether the first waiting sequence stays out as long as the running ones only decode."""
        waiting, config = self.scheduler.waiting, self.scheduler.config
        if not waiting or len(running) >= config.max_sequences or len(running) == config.max_step_tokens:
            return True
        if not self._only_grows:
            return False
        if self._prefix is not None:
            self._look_up()
        head = waiting[0]
        chunk = min(config.max_step_tokens - len(running), head.num_uncomputed_tokens)
        missing = self.cache.blocks_missing(head.sequence_id, head.num_computed_tokens, chunk)
        return any(count > pool.num_free for count, pool in zip(missing, self.cache.pools, strict=True))

    def _pass_time(self, running: Sequence[schedule_sequence.Sequence], steps: int) -> int:
        """Moves the clock on, step by step, until an arrival is due; returns how many steps that were."""
        timer, users, result = self._timer, len(running), self.result
        due = self._arrivals[0][1].arrival_s if self._arrivals else float("inf")
        contexts = [played.num_computed_tokens + 1 for played in running]
        costs = [timer.decode_cost(context) for context in contexts]
        read, flops = sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)
        began, done = self.now, 0
        while done < steps and due > self.now:
            self.now += timer.decode_s(users, read, flops)
            done += 1
            if timer.slope is not None:
                read += users * timer.slope[0]
                flops += users * timer.slope[1]
            elif done < steps:
                costs = [timer.decode_cost(context + done) for context in contexts]
                read, flops = sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)
        seconds = self.now - began
        result.busy_s += seconds
        result.num_steps += done
        result.scheduled_tokens += done * users
        result.sequence_s += users * seconds
        return done

    # --- prefixes ------------------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Gives those that may be admitted next what is kept of their prompts; they hold it until they end."""
        scheduler = self.scheduler
        config, waiting = scheduler.config, scheduler.waiting
        slots = config.max_sequences - len(scheduler.running)
        if not waiting or slots <= 0:
            return
        budget = config.max_step_tokens - sum(one.num_uncomputed_tokens for one in scheduler.running)
        for sequence in islice(waiting, slots):
            if budget <= 0:
                return
            self._take(_played(sequence))
            budget -= sequence.num_uncomputed_tokens

    def _take(self, played: Played) -> None:
        prefix, request = self._prefix, played.request
        assert prefix is not None
        # The last token of a prompt must be computed: its logits choose the first token of the answer.
        usable = (request.num_prompt_tokens - 1) // prefix.block_tokens
        if played.held >= min(usable, len(request.keys)):
            return
        played.held, load_s = prefix.take(request.keys[:usable], played.held)
        played.load_s += load_s
        played.num_computed_tokens = played.held * prefix.block_tokens
        if played.first_token_s < 0 and not played.num_preemptions:
            played.num_cached_tokens = played.num_computed_tokens

    def _loads_s(self, step: Step) -> float:
        """Seconds of copying that the step waits for; copies share one way, and run beside the computing."""
        total = 0.0
        for chunk in step.chunks:
            played = _played(chunk.sequence)
            total += played.load_s
            played.load_s = 0.0
        return total

    def _keep(self, played: Played) -> None:
        prefix, keys = self._prefix, played.request.keys
        assert prefix is not None
        whole = min(len(keys), played.num_computed_tokens // prefix.block_tokens)
        if whole > played.held:
            prefix.keep(keys, played.held, whole)
            played.held = whole

    def _let_go(self, played: Played) -> None:
        assert self._prefix is not None
        if played.held:
            self._prefix.release(played.request.keys, played.held)
            played.held = 0
        played.load_s = 0.0


def _played(sequence: schedule_sequence.Sequence) -> Played:
    """The sequences of a replay are its own."""
    assert isinstance(sequence, Played)
    return sequence
