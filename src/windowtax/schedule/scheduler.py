"""The scheduler: which tokens of which sequences run next. It reads no clock, so a simulator can drive it as it is.

Every step has a budget of tokens. Running sequences come first, oldest first, so decodes never wait for a prefill;
what is left of the budget goes to prefills in chunks (Agrawal et al. 2023, Sarathi, arXiv 2308.16369), and then to
sequences that wait. When blocks run out, the newest running sequence gives its blocks back. What was in them goes to
host RAM or is computed again later, whichever the cache says is cheaper (Kwon et al. 2023, PagedAttention, arXiv
2309.06180, section 4.5: swapping and recomputation).

With `share_prefill` prompts that want the same step divide it (schedule/share.py), so that a short one that arrives
behind long ones has its first token within a few steps. Whatever a share leaves over goes to the oldest.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf

from windowtax.base.errors import DoesNotFit
from windowtax.base.units import format_bytes, format_exact_bytes, format_tokens
from windowtax.cache.manager import CacheManager
from windowtax.schedule.sequence import Sequence, Status
from windowtax.schedule.share import shares
from windowtax.schedule.step import Chunk, Step

MOST_SCORED_TOKENS = 256
"""Of a prompt whose logits are all wanted, at most so many tokens per step: a row of logits may have 152,000 floats."""

DEFAULT_STEP_TOKENS = 2048
"""Tokens of one step: long enough that weights are read seldom in a prefill, short enough to show its progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """max_step_tokens: the budget of one step, also the longest prefill chunk. max_sequences: running at once.

    share_prefill: prompts that want the same step share it (see the head of this file).
    """

    max_step_tokens: int = DEFAULT_STEP_TOKENS
    max_sequences: int = 64
    share_prefill: bool = False


class Scheduler:
    """Queues of waiting and running sequences, and the choice of the next step."""

    def __init__(self, config: SchedulerConfig, cache: CacheManager) -> None:
        self.config = config
        self.cache = cache
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._latest = -inf  # the largest priority number that was ever queued

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence. Raises DoesNotFit where the pool could not hold it even if it were alone."""
        self._refuse_what_cannot_fit(sequence)
        if sequence.priority >= self._latest:
            self._latest = sequence.priority
            self.waiting.append(sequence)  # nobody can come after it, however many wait
            return
        later = (place for place, other in enumerate(self.waiting) if other.priority > sequence.priority)
        self.waiting.insert(next(later, len(self.waiting)), sequence)

    def schedule(self) -> Step:
        """The next step. Blocks for its tokens are taken; `commit` must follow before the next call."""
        budget, reserve = self.config.max_step_tokens, self.cache.reserve
        chunks: list[Chunk] = []
        preempted: list[Sequence] = []
        parts = self._parts()
        for sequence in list(self.running):
            most = _most(sequence, budget, parts)
            if most == 0 or sequence.status is not Status.RUNNING:
                continue
            chunk = self._next_chunk(sequence, most)
            if reserve(sequence.sequence_id, chunk.start, chunk.num_tokens) or self._make_room(chunk, preempted):
                chunks.append(chunk)
                budget -= chunk.num_tokens
        # A sequence that was just preempted must not come back in the same step: it would take the blocks again.
        for sequence in [] if preempted else list(islice(self.waiting, self._room)):
            most = _most(sequence, budget, parts)
            if most == 0 or not self._ready(sequence):
                continue  # it has no part in this step, or its prefix is on the way; others may go ahead
            chunk = self._first_chunk(sequence, most)
            if chunk is None:
                break
            self.waiting.remove(sequence)
            self._admit(sequence)
            chunks.append(chunk)
            budget -= chunk.num_tokens
        if self.config.share_prefill and budget:
            self._spend(budget, chunks)
        if preempted:
            chunks = [chunk for chunk in chunks if chunk.sequence.status is Status.RUNNING]
        return Step(tuple(chunks), tuple(preempted))

    def _parts(self) -> Mapping[str, int] | None:
        """What each prompt may take of the next step; None where every one may take all that is left."""
        if not self.config.share_prefill:
            return None
        budget, block_size = self.config.max_step_tokens, self.cache.layout.block_size
        return shares(self.running, self.waiting, budget=budget, room=self._room, block_size=block_size)

    @property
    def _room(self) -> int:
        """How many sequences may still be admitted."""
        return max(0, self.config.max_sequences - len(self.running))

    def _spend(self, budget: int, chunks: list[Chunk]) -> None:
        """Gives what shares left over to the prompts that can use it, oldest first."""
        for index, chunk in enumerate(chunks):
            more = 0 if chunk.sequence.scores_prompt else min(budget, len(chunk.sequence.token_ids) - chunk.end)
            if chunk.num_drafts or more <= 0 or chunk.sequence.status is not Status.RUNNING:
                continue
            if self.cache.reserve(chunk.sequence.sequence_id, chunk.start, chunk.num_tokens + more):
                chunks[index] = Chunk(chunk.sequence, chunk.start, chunk.num_tokens + more)
                budget -= more

    def _ready(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence may be admitted, rather than wait for what others compute or a tier loads."""
        if sequence.offloaded or sequence.scores_prompt:
            return True
        return self.cache.ready(sequence.sequence_id, sequence.token_ids, sequence.salt)

    def _first_chunk(self, sequence: Sequence, budget: int) -> Chunk | None:
        """What a waiting sequence computes first, with blocks for it; None where there are too few."""
        if sequence.offloaded:
            chunk, cache = self._next_chunk(sequence, budget), self.cache
            moved = cache.promote(sequence.sequence_id, sequence.token_ids, sequence.salt, chunk.num_tokens)
            sequence.moved_bytes += moved or 0
            sequence.offloaded = moved is None
            return None if moved is None else chunk
        cached = self._attach(sequence)
        chunk = self._next_chunk(sequence, budget)
        if self.cache.reserve(sequence.sequence_id, chunk.start, chunk.num_tokens):
            sequence.num_recomputed_tokens += max(0, sequence.num_lost_tokens - chunk.start)
            sequence.num_lost_tokens = 0
            return chunk
        self.cache.free(sequence.sequence_id)
        sequence.num_computed_tokens -= cached
        return None

    def _attach(self, sequence: Sequence) -> int:
        """Begins a waiting sequence with what the cache keeps of its prefix; returns how many tokens that is."""
        known = () if sequence.scores_prompt else sequence.token_ids
        cached = self.cache.attach(sequence.sequence_id, known, sequence.salt)
        if cached:
            sequence.num_computed_tokens = cached
            if not sequence.num_preemptions:
                sequence.num_cached_tokens = min(cached, sequence.num_prompt_tokens)
        return cached

    def commit(self, step: Step, rejected: Mapping[str, int] | None = None) -> None:
        """Books a computed step: counters move on, and blocks behind every window go back.

        rejected: by sequence id, how many of its drafts the model did not agree with; none unless given.
        """
        trim, completed = self.cache.trim, self.cache.completed
        for chunk in step.chunks:
            sequence = chunk.sequence
            sequence.num_computed_tokens = chunk.end - (rejected.get(sequence.sequence_id, 0) if rejected else 0)
            completed(sequence.sequence_id, sequence.token_ids, sequence.num_computed_tokens)
            trim(sequence.sequence_id, sequence.num_computed_tokens)

    def finish(self, sequence: Sequence) -> None:
        """Ends a sequence, wherever it stands, and gives its blocks back."""
        if sequence.status is Status.RUNNING:
            self.running.remove(sequence)
        elif sequence.status is Status.WAITING:
            self.waiting.remove(sequence)
        sequence.status = Status.FINISHED
        self.cache.end(sequence.sequence_id)

    def _next_chunk(self, sequence: Sequence, budget: int) -> Chunk:
        start = sequence.num_computed_tokens
        num_known = len(sequence.token_ids) - start
        if sequence.scores_prompt:
            budget = min(budget, MOST_SCORED_TOKENS)
        if num_known > budget or not sequence.draft_ids:
            return Chunk(sequence, start, min(budget, num_known))
        # Drafts only fill the block that is needed anyway, so they never cost memory or somebody else's blocks.
        block_size = self.cache.layout.block_size
        room = -(start + num_known) % block_size
        num_drafts = min(len(sequence.draft_ids), budget - num_known, room)
        return Chunk(sequence, start, num_known + num_drafts, num_drafts)

    def _make_room(self, chunk: Chunk, preempted: list[Sequence]) -> bool:
        """Reserves the chunk's blocks at the cost of the newest sequences; False if it had to give way itself."""
        while True:
            victim = self._victim()
            self._preempt(victim)
            preempted.append(victim)
            if victim is chunk.sequence:
                return False
            if self.cache.reserve(chunk.sequence.sequence_id, chunk.start, chunk.num_tokens):
                return True

    def _victim(self) -> Sequence:
        """The newest of those with the lowest priority."""
        newest = self.running[-1]
        for sequence in reversed(self.running):
            if sequence.priority > newest.priority:
                newest = sequence
        return newest

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        sequence.offloaded = self.cache.offload(sequence.sequence_id, sequence.num_computed_tokens)
        if sequence.offloaded:
            sequence.num_moves += 1
        else:
            self.cache.free(sequence.sequence_id)
            sequence.num_lost_tokens = sequence.num_computed_tokens
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


def _most(sequence: Sequence, budget: int, parts: Mapping[str, int] | None) -> int:
    """How many tokens a sequence may take of what is left of a step. Decodes have no part: each takes its token."""
    if parts is None or (sequence.status is Status.RUNNING and sequence.num_uncomputed_tokens <= 1):
        return budget
    return min(budget, parts.get(sequence.sequence_id, 0))


def largest_window(cache: CacheManager, step_tokens: int) -> int:
    """The longest context that a pool holds for one sequence, in tokens, by search over the layout's curve."""
    low, high = 0, max(cache.num_blocks, default=0) * cache.layout.block_size + 1
    while high - low > 1:
        middle = (low + high) // 2
        need = cache.layout.peak_blocks(middle, step_tokens)
        fits = all(wanted <= there for wanted, there in zip(need, cache.num_blocks, strict=True))
        low, high = (middle, high) if fits else (low, middle)
    return low
