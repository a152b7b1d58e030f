"""Stretches: steps that follow from the last one by arithmetic, so that nobody has to choose.

In such a step every running sequence computes one token, but the newest may still be reading its prompt, and then takes
all of the budget that is left. Until the prompt's last piece, or the end of a sequence, or a block too few, the next
step is the same with every sequence further on. A sequence that waits cannot join: the prompt takes the budget, or
there are slots or blocks too few, and both only get fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from windowtax.plan.replay.played import Played
from windowtax.plan.replay.reuse import PrefixReuse
from windowtax.plan.replay.step_time import StepTimer
from windowtax.schedule.scheduler import Scheduler
from windowtax.schedule.step import Chunk, Step

_ENDLESS = 2**62


@dataclass(slots=True)
class Stretch:
    """decoders: one token a step each. prompt: reads `room` tokens a step; None where all decode. steps: at most.

    deaf: whether arrivals change nothing meanwhile. until_end: steps until the first decoder ends, that one included.
    """

    decoders: list[Played]
    prompt: Played | None
    room: int
    steps: int
    deaf: bool
    until_end: int = 0

    @property
    def tokens_per_step(self) -> int:
        """Computed in each."""
        return len(self.decoders) + self.room

    @property
    def first_step(self) -> Step:
        """The Step that the scheduler would make of the first of them."""
        chunks = [Chunk(one, one.num_computed_tokens, 1) for one in self.decoders]
        if self.prompt is not None:
            chunks.append(Chunk(self.prompt, self.prompt.num_computed_tokens, self.room))
        return Step(tuple(chunks))


class Stretches:
    """Finds the stretches of one scheduler and prices them."""

    def __init__(self, scheduler: Scheduler, timer: StepTimer, reuse: PrefixReuse | None) -> None:
        self._scheduler = scheduler
        self._cache = scheduler.cache
        self._timer = timer
        self._reuse = reuse
        # Where layers keep everything, free blocks only get fewer until a sequence ends.
        groups = enumerate(self._cache.layout.groups)
        self._growing = [group for group, one in groups if one.cache.grows]

    def find(self) -> Stretch | None:
        """The stretch that starts here; None where the scheduler must choose."""
        config = self._scheduler.config
        running = cast("list[Played]", self._scheduler.running)  # the sequences of a replay are its own
        if not running or len(running) > config.max_step_tokens:
            return None
        newest = running[-1]
        stretch = self._reading(running) if newest.num_uncomputed_tokens > 1 else self._decoding(running)
        if stretch is None:
            return None
        stretch.until_end = _steps_to_an_end(stretch.decoders)
        stretch.steps = min(stretch.steps, stretch.until_end)
        stretch.steps = self._steps_with_blocks(stretch)
        return stretch if stretch.steps else None

    def _reading(self, running: list[Played]) -> Stretch | None:
        """While the newest sequence reads its prompt, but for the last piece, which leaves budget to others."""
        newest, room = running[-1], self._scheduler.config.max_step_tokens - len(running) + 1
        # A piece of one token is priced as a decode.
        steps = (newest.num_uncomputed_tokens - 1) // room if room > 1 else 0
        if not steps or (self._reuse is not None and not self._reuse.files_new_blocks(newest)):
            return None
        return Stretch(running[:-1], newest, room, steps, deaf=True)

    def _decoding(self, running: list[Played]) -> Stretch | None:
        """While all decode and the first of those that wait cannot join."""
        stretch = Stretch(running[:], None, 0, _ENDLESS, deaf=False)
        return stretch if self._nobody_joins(stretch) else None

    def _nobody_joins(self, stretch: Stretch) -> bool:
        """Whether the first waiting sequence stays out as long as the running ones only decode."""
        scheduler, config, running = self._scheduler, self._scheduler.config, len(self._scheduler.running)
        if running >= config.max_sequences:
            stretch.deaf = True
            return True
        if not scheduler.waiting:
            return True
        # Newcomers queue behind one that cannot join; they matter only where they take hold of kept prefixes.
        stretch.deaf = self._reuse is None or not self._reuse.look_up()
        if running == config.max_step_tokens:
            return True
        head = scheduler.waiting[0]
        chunk = min(config.max_step_tokens - running, head.num_uncomputed_tokens)
        missing = self._cache.blocks_missing(head.sequence_id, head.num_computed_tokens, chunk)
        return any(missing[group] > self._cache.pools[group].num_free for group in self._growing)

    def _steps_with_blocks(self, stretch: Stretch) -> int:
        """So many of its steps that there are certainly blocks for them: all, or half of them, or half of those ..."""
        cache, steps = self._cache, stretch.steps
        free, size = min(pool.num_free for pool in cache.pools), cache.layout.block_size
        if len(stretch.decoders) * (steps // size + 2) + steps * stretch.room // size + 2 <= free:
            return steps  # without looking at what each of them has
        ahead = [(cache.tokens_covered(one.sequence_id) - one.num_computed_tokens, 1) for one in stretch.decoders]
        if stretch.prompt is not None:
            covered = cache.tokens_covered(stretch.prompt.sequence_id)
            ahead.append((covered - stretch.prompt.num_computed_tokens, stretch.room))
        while steps:
            # n tokens in a row lie in at most 1 + ceil((n - 1) / block size) blocks of any group.
            beyond = [steps * tokens - room for room, tokens in ahead if steps * tokens > room]
            if sum((tokens - 2) // size for tokens in beyond) + 2 * len(beyond) <= free:
                break
            steps //= 2
        return steps

    def pass_time(self, stretch: Stretch, now: float, due: float) -> tuple[float, int]:
        """The clock after as many of its steps as begin before `due`, and how many those are."""
        timer, users, room, prompt = self._timer, len(stretch.decoders), stretch.room, stretch.prompt
        contexts = [played.num_computed_tokens + 1 for played in stretch.decoders]
        start = prompt.num_computed_tokens if prompt is not None else 0
        read, flops = timer.decode_costs(contexts)
        done = 0
        while done < stretch.steps and now < due:
            if room:
                now += timer.mixed_s(users, read, flops, start + done * room, room)
            else:
                now += timer.decode_s(users, read, flops)
            done += 1
            if timer.slope is not None:
                read += users * timer.slope[0]
                flops += users * timer.slope[1]
            elif done < stretch.steps:
                read, flops = timer.decode_costs([context + done for context in contexts])
        return now, done


def _steps_to_an_end(decoders: Sequence[Played]) -> int:
    """How many steps until the first of them ends, that one included; 0 where one of them does not decode."""
    steps = _ENDLESS
    for played in decoders:
        length, prompt = len(played.token_ids), played.num_prompt_tokens
        if length - played.num_computed_tokens != 1 or length == prompt:
            return 0
        left = prompt + played.max_output_tokens - length
        if left < steps:
            steps = left
    return steps
