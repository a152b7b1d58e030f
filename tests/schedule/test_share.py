"""Prompts that want the same step: a short one is not held up by long ones, a long one not by many short ones."""

from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.cache.manager import CacheManager
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.sequence import Sequence, Status
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype

FULL = CacheLayout.of([LayerCache(cache_dtype("bf16").vector_planes("k", 1, 8))], block_size=4)


def sharing(budget: int = 32, blocks: int = 10_000, sequences: int = 64) -> Scheduler:
    config = SchedulerConfig(max_step_tokens=budget, max_sequences=sequences, share_prefill=True)
    return Scheduler(config, CacheManager(FULL, [blocks]))


def first_tokens(queue: Scheduler, arrivals: dict[int, list[Sequence]], steps: int) -> dict[str, int]:
    """In which step each sequence had its first token. arrivals: by step. Every step keeps its budget."""
    found: dict[str, int] = {}
    for number in range(steps):
        for sequence in arrivals.get(number, []):
            queue.add(sequence)
        if not queue.has_work and number > max(arrivals):
            break
        step = queue.schedule()
        queue.commit(step)
        assert sum(chunk.num_tokens for chunk in step.chunks) <= queue.config.max_step_tokens
        for sequence in (chunk.sequence for chunk in step.chunks):
            if sequence.num_computed_tokens == len(sequence.token_ids):
                found.setdefault(sequence.sequence_id, number)
                sequence.token_ids.append(0)
                if sequence.num_output_tokens == sequence.max_output_tokens:
                    queue.finish(sequence)
    return found


def prompts(count: int, tokens: int, name: str = "long", outputs: int = 1) -> list[Sequence]:
    return [Sequence(f"{name}{number}", [1] * tokens, outputs) for number in range(count)]


def test_equal_long_prompts_do_not_all_wait_for_the_last() -> None:
    # 16 prompts of 320 tokens take 160 steps of 32 tokens; with equal parts all would end in the last ten.
    found = first_tokens(sharing(), {0: prompts(16, 320)}, 161)
    assert len(found) == 16
    assert max(found.values()) <= 160
    assert median(found.values()) < 100


def test_a_short_prompt_behind_long_ones_is_read_in_the_next_step() -> None:
    short = Sequence("short", [1] * 12, 1)
    found = first_tokens(sharing(), {0: prompts(4, 3200), 3: [short]}, 8)
    assert found == {"short": 3}


def test_many_short_prompts_do_not_stop_a_long_one() -> None:
    arrivals = {number: prompts(4, 12, f"short{number}.") for number in range(1, 40)}
    found = first_tokens(sharing(), {0: prompts(1, 320), **arrivals}, 40)
    assert found["long0"] <= 2 * 320 // 32
    assert len(found) > 40  # and the half of the steps that it left was used


def test_a_prompt_of_higher_priority_takes_both_halves_first() -> None:
    urgent = [Sequence("urgent0", [1] * 64, 1, priority=-1), Sequence("urgent1", [1] * 64, 1, priority=-1)]
    found = first_tokens(sharing(), {0: prompts(2, 320), 2: urgent}, 20)
    assert max(found["urgent0"], found["urgent1"]) == 5


def test_decodes_keep_their_token_beside_prompts_that_share() -> None:
    talker = Sequence("talker", [1] * 4, 20)
    queue = sharing()
    first_tokens(queue, {0: [talker], 1: prompts(3, 320)}, 11)
    assert talker.num_output_tokens == 11


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 6), st.integers(0, 12)), min_size=1, max_size=12),
    budget=st.integers(1, 40),
    blocks=st.integers(24, 60),
    most=st.integers(1, 5),
)
def test_every_prompt_ends_whatever_the_pool(
    lengths: list[tuple[int, int, int]], budget: int, blocks: int, most: int
) -> None:
    queue, arrivals = sharing(budget, blocks, most), dict[int, list[Sequence]]()
    for number, (tokens, outputs, when) in enumerate(lengths):
        arrivals.setdefault(when, []).append(Sequence(str(number), [1] * tokens, outputs))
    sequences = [sequence for group in arrivals.values() for sequence in group]
    first_tokens(queue, arrivals, 12_000 // budget + 400)
    assert all(sequence.status is Status.FINISHED for sequence in sequences)
    assert queue.cache.held_bytes == 0
