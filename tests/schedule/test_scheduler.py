"""The scheduler: budgets, order, chunking, preemption and refusal; no clock and no tensors anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.base.errors import DoesNotFit
from windowtax.cache.manager import CacheManager
from windowtax.cache.offload import OffloadSpace
from windowtax.cache.tiers import Books, Speeds
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.sequence import Sequence, Status
from windowtax.schedule.step import Step
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype

PLANES = cache_dtype("bf16").vector_planes("k", 1, 8)
FULL = CacheLayout.of([LayerCache(PLANES)], block_size=4)
HYBRID = CacheLayout.of([LayerCache(PLANES), LayerCache(PLANES, window=10)], block_size=4)


def scheduler(
    layout: CacheLayout, num_blocks: list[int], budget: int = 8, sequences: int = 8, space: OffloadSpace | None = None
) -> Scheduler:
    config = SchedulerConfig(max_step_tokens=budget, max_sequences=sequences)
    return Scheduler(config, CacheManager(layout, num_blocks, space))


def speeds(tokens_per_s: float, bytes_per_s: float) -> Speeds:
    """As if measured for a second."""
    known = Speeds()
    known.prefill.book(tokens_per_s, 1.0)
    known.saving.book(bytes_per_s, 1.0)
    known.restoring.book(bytes_per_s, 1.0)
    return known


def space(layout: CacheLayout, host_bytes: int = 1 << 20, known: Speeds | None = None) -> OffloadSpace:
    block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
    return OffloadSpace(Books(host_bytes), block_bytes, known or Speeds())


def advance(scheduler: Scheduler) -> Step:
    """One step as an engine takes it: every sampling chunk gets the token 0; full sequences end."""
    step = scheduler.schedule()
    scheduler.commit(step)
    for chunk in step.chunks:
        sequence = chunk.sequence
        if sequence.num_computed_tokens == len(sequence.token_ids):
            sequence.token_ids.append(0)
            if sequence.num_output_tokens == sequence.max_output_tokens:
                scheduler.finish(sequence)
    return step


def test_a_prompt_is_cut_into_chunks_of_the_budget() -> None:
    queue = scheduler(FULL, [20])
    queue.add(Sequence("a", [1] * 19, 2))
    sizes = [[chunk.num_tokens for chunk in advance(queue).chunks] for _ in range(4)]
    assert sizes == [[8], [8], [3], [1]]
    assert not queue.has_work


def test_decodes_go_before_a_long_prefill() -> None:
    queue = scheduler(FULL, [40])
    queue.add(Sequence("short", [1] * 3, 4))
    advance(queue)
    queue.add(Sequence("long", [1] * 40, 1))
    step = advance(queue)
    assert [(chunk.sequence.sequence_id, chunk.num_tokens) for chunk in step.chunks] == [("short", 1), ("long", 7)]


def test_the_newest_sequence_is_preempted_and_computed_again() -> None:
    queue = scheduler(FULL, [5], budget=16)
    old, new = Sequence("old", [1] * 8, 8), Sequence("new", [1] * 8, 4)
    queue.add(old)
    queue.add(new)
    advance(queue)
    assert (old.num_computed_tokens, new.num_computed_tokens) == (8, 8)
    step = advance(queue)  # both want a third block; there is one
    assert step.preempted == (new,)
    assert new.status is Status.WAITING and new.num_computed_tokens == 0
    while queue.has_work:
        advance(queue)
    assert (old.num_output_tokens, new.num_output_tokens) == (8, 4)
    assert new.num_preemptions == 1
    assert queue.cache.held_bytes == 0


# FULL keeps 16 B of a token, and 8 tokens are computed when the newest sequence has to give way.
RATES = {
    "moving takes 2 x 128 B / 1,000 B/s = 0.256 s, computing 8 / 20 = 0.4 s": (20, 1000, True),
    "computing takes 8 / 40 = 0.2 s": (40, 1000, False),
    "computing takes 0.2 s, moving 0.128 s": (40, 2000, True),
}


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_the_cheaper_of_moving_and_computing_again_is_taken(rate: tuple[float, float, bool]) -> None:
    tokens_per_s, bytes_per_s, moves = rate
    queue = scheduler(FULL, [5], budget=16, space=space(FULL, known=speeds(tokens_per_s, bytes_per_s)))
    old, new = Sequence("old", [1] * 8, 8), Sequence("new", [1] * 8, 4)
    queue.add(old)
    queue.add(new)
    advance(queue)
    assert advance(queue).preempted == (new,)
    assert (new.offloaded, new.num_computed_tokens) == (moves, 8 if moves else 0)
    while queue.has_work:
        advance(queue)
    assert (new.num_preemptions, new.num_moves, new.num_recomputed_tokens) == (1, int(moves), 0 if moves else 8)
    assert new.moved_bytes == (2 * FULL.block_bytes(0) if moves else 0)


def test_what_host_ram_has_no_room_for_is_computed_again() -> None:
    queue = scheduler(FULL, [5], budget=16, space=space(FULL, host_bytes=2 * FULL.block_bytes(0) - 1))
    sequences = [Sequence(name, [1] * 8, 8) for name in ("old", "new")]
    for sequence in sequences:
        queue.add(sequence)
    while queue.has_work:
        advance(queue)
    assert [(one.num_preemptions, one.num_moves) for one in sequences] == [(0, 0), (1, 0)]
    assert queue.cache.space is not None and queue.cache.space.held_bytes == 0


def test_a_sequence_that_ends_while_it_is_away_leaves_nothing() -> None:
    queue = scheduler(FULL, [5], budget=16, space=space(FULL))
    old, new = Sequence("old", [1] * 8, 8), Sequence("new", [1] * 8, 4)
    queue.add(old)
    queue.add(new)
    while not new.offloaded:
        advance(queue)
    assert queue.cache.space is not None and queue.cache.space.held_bytes == 2 * FULL.block_bytes(0)
    queue.finish(new)
    assert queue.cache.space.held_bytes == 0 and not queue.waiting


def test_what_can_never_fit_is_refused_with_the_sum() -> None:
    queue = scheduler(FULL, [4])
    with pytest.raises(DoesNotFit, match=r"17 tokens \(12 of prompt and up to 5 of output\).*320 B.*256 B.*16 tokens"):
        queue.add(Sequence("big", [1] * 12, 5))
    assert not queue.has_work
    queue.add(Sequence("fits", [1] * 12, 4))


def test_no_more_sequences_run_than_allowed() -> None:
    queue = scheduler(FULL, [40], budget=64, sequences=2)
    for name in "abc":
        queue.add(Sequence(name, [1] * 4, 3))
    assert len(queue.schedule().chunks) == 2


requests = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=200)
@given(requests, st.integers(1, 20), st.integers(0, 6), st.sampled_from([0, 200, 1000, 1 << 20]))
def test_every_sequence_ends_whatever_the_pool(
    shapes: list[tuple[int, int]], budget: int, spare: int, host_bytes: int
) -> None:
    """Pools just large enough for the largest sequence alone, or a little more: all finish, nothing leaks, whether the
    preempted are moved, computed again, or now the one and now the other."""
    longest = max(prompt + output for prompt, output in shapes)
    blocks = [count + spare for count in HYBRID.peak_blocks(longest, budget)]
    host = space(HYBRID, host_bytes)
    queue = scheduler(HYBRID, blocks, budget=budget, space=host)
    sequences = [Sequence(f"s{i}", [1] * prompt, output) for i, (prompt, output) in enumerate(shapes)]
    for sequence in sequences:
        queue.add(sequence)
    for _ in range(20_000):
        if not queue.has_work:
            break
        step = advance(queue)
        assert 0 < step.num_tokens <= budget
        queue.cache.check()
    assert all(s.status is Status.FINISHED and s.num_output_tokens == s.max_output_tokens for s in sequences)
    assert queue.cache.held_bytes == 0
    assert host.held_bytes == 0
    assert host_bytes < 1 << 20 or not any(one.num_recomputed_tokens for one in sequences)
