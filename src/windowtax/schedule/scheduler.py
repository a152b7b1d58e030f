"""The scheduler: which tokens of which sequences run next. It reads no clock, so a simulator can drive it as it is.

Every step has a budget of tokens. Running sequences come first, oldest first, so decodes never wait for a prefill;
what is left of the budget goes to prefills in chunks (Agrawal et al. 2023, Sarathi, arXiv 2308.16369), and then to
sequences that wait. When blocks run out, the newest running sequence gives its blocks back and is computed again
later (preemption by recompute, Kwon et al. 2023, PagedAttention, arXiv 2309.06180, section 4.5).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from windowtax.base.errors import DoesNotFit
from windowtax.base.units import format_bytes, format_exact_bytes, format_tokens
from windowtax.cache.manager import CacheManager
from windowtax.schedule.sequence import Sequence, Status
from windowtax.schedule.step import Chunk, Step

DEFAULT_STEP_TOKENS = 2048
"""Tokens of one step: long enough that weights are read seldom in a prefill, short enough to show its progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """max_step_tokens: the budget of one step, also the longest prefill chunk. max_sequences: running at once."""

    max_step_tokens: int = DEFAULT_STEP_TOKENS
    max_sequences: int = 64


class Scheduler:
    """Queues of waiting and running sequences, and the choice of the next step."""

    def __init__(self, config: SchedulerConfig, cache: CacheManager) -> None:
        self.config = config
        self.cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence. Raises DoesNotFit where the pool could not hold it even if it were alone."""
        self._refuse_what_cannot_fit(sequence)
        self.waiting.append(sequence)

    def schedule(self) -> Step:
        """The next step. Blocks for its tokens are taken; `commit` must follow before the next call."""
        budget = self.config.max_step_tokens
        chunks: list[Chunk] = []
        preempted: list[Sequence] = []
        for sequence in list(self.running):
            if budget == 0 or sequence.status is not Status.RUNNING:
                continue
            chunk = self._next_chunk(sequence, budget)
            if not self._make_room(chunk, preempted):
                continue
            chunks.append(chunk)
            budget -= chunk.num_tokens
        # A sequence that was just preempted must not come back in the same step: it would take the blocks again.
        while budget and self.waiting and not preempted and len(self.running) < self.config.max_sequences:
            chunk = self._next_chunk(self.waiting[0], budget)
            if not self.cache.reserve(chunk.sequence.sequence_id, chunk.start, chunk.num_tokens):
                break
            self._admit(self.waiting.popleft())
            chunks.append(chunk)
            budget -= chunk.num_tokens
        return Step(tuple(chunks), tuple(preempted))

    def commit(self, step: Step, rejected: Mapping[str, int] | None = None) -> None:
        """Books a computed step: counters move on, and blocks behind every window go back.

        rejected: by sequence id, how many of its drafts the model did not agree with; none unless given.
        """
        for chunk in step.chunks:
            sequence = chunk.sequence
            sequence.num_computed_tokens = chunk.end - (rejected or {}).get(sequence.sequence_id, 0)
            self.cache.trim(sequence.sequence_id, sequence.num_computed_tokens)

    def finish(self, sequence: Sequence) -> None:
        """Ends a sequence, wherever it stands, and gives its blocks back."""
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
        elif sequence.status is Status.WAITING:
            self.waiting.remove(sequence)
        sequence.status = Status.FINISHED
        self.cache.free(sequence.sequence_id)

    def _next_chunk(self, sequence: Sequence, budget: int) -> Chunk:
        start, num_known = sequence.num_computed_tokens, sequence.num_uncomputed_tokens
        if num_known > budget or not sequence.draft_ids:
            return Chunk(sequence, start, min(budget, num_known))
        # Drafts only fill the block that is needed anyway, so they never cost memory or somebody else's blocks.
        block_size = self.cache.layout.block_size
        room = -(start + num_known) % block_size
        num_drafts = min(len(sequence.draft_ids), budget - num_known, room)
        return Chunk(sequence, start, num_known + num_drafts, num_drafts)

    def _make_room(self, chunk: Chunk, preempted: list[Sequence]) -> bool:
        """Reserves the chunk's blocks, at the cost of newer sequences if need be; False if it gave way itself."""
        while not self.cache.reserve(chunk.sequence.sequence_id, chunk.start, chunk.num_tokens):
            victim = self.running[-1]
            self._preempt(victim)
            preempted.append(victim)
            if victim is chunk.sequence:
                return False
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.cache.free(sequence.sequence_id)
        sequence.num_computed_tokens = 0
        sequence.draft_ids.clear()
        sequence.num_preemptions += 1
        sequence.status = Status.WAITING
        self.waiting.appendleft(sequence)

    def _admit(self, sequence: Sequence) -> None:
        sequence.status = Status.RUNNING
        self.running.append(sequence)

    def _refuse_what_cannot_fit(self, sequence: Sequence) -> None:
        layout, step_tokens = self.cache.layout, self.config.max_step_tokens
        need = layout.peak_blocks(sequence.max_tokens, step_tokens)
        have = self.cache.num_blocks
        if all(wanted <= there for wanted, there in zip(need, have, strict=True)):
            return
        pool_bytes = layout.pool_bytes(have)
        fits = largest_window(self.cache, step_tokens)
        raise DoesNotFit(
            f"{format_tokens(sequence.max_tokens)} tokens ({sequence.num_prompt_tokens:,} of prompt and up to "
            f"{sequence.max_output_tokens:,} of output) need {format_exact_bytes(layout.pool_bytes(need))} of KV "
            f"cache; the pool has {format_bytes(pool_bytes)}; the most that fits is {fits:,} tokens.",
            "Shorten the prompt, ask for fewer output tokens, give the cache more memory, or keep it in fewer bits.",
        )


def largest_window(cache: CacheManager, step_tokens: int) -> int:
    """The longest context that a pool holds for one sequence, in tokens, by search over the layout's curve."""
    low, high = 0, max(cache.num_blocks, default=0) * cache.layout.block_size + 1
    while high - low > 1:
        middle = (low + high) // 2
        need = cache.layout.peak_blocks(middle, step_tokens)
        fits = all(wanted <= there for wanted, there in zip(need, cache.num_blocks, strict=True))
        low, high = (middle, high) if fits else (low, middle)
    return low
