"""The simulator: the clock, prefix hits, refusals, and that equal steps taken at once change nothing."""

from array import array
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, MISTRAL_7B, MIXTRAL
from windowtax.cache.manager import CacheManager
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.fit import Sizing
from windowtax.plan.plan import make_rank
from windowtax.plan.replay.away import HostRoom, away_space
from windowtax.plan.replay.played import CountedTokens, Played, Replayed
from windowtax.plan.replay.step_time import StepTimer
from windowtax.plan.replay.tiers import PrefixTiers, Tier, kept_block_bytes
from windowtax.plan.replay.trace import TraceRequest
from windowtax.plan.roofline import Rank
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.simulate import Simulator
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.schedule.step import Chunk, Step
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

BLOCK = 16


def rank_of(spec: ModelSpec, ranks: int = 1) -> Rank:
    sizing = Sizing(
        spec=spec,
        hardware=hardware("h100-sxm"),
        workload=Workload(context_tokens=1024, output_tokens=1),
        scheme=weight_scheme("checkpoint", spec),
        dtype=cache_dtype("bf16"),
        block_size=4,
    )
    return make_rank(sizing, ranks)


SMALL = replace(LLAMA_8B, layers=LLAMA_8B.layers[:2], name="two-layers")
HYBRID = replace(
    SMALL,
    layers=(
        LLAMA_8B.layers[0],
        replace(
            MISTRAL_7B.layers[0],
            attention=replace(MISTRAL_7B.layers[0].attention, window_tokens=24, rope=LLAMA_8B.layers[0].attention.rope),
        ),
    ),
    name="one-full-one-sliding",
)
TIMERS = {spec.name: StepTimer(rank_of(spec)) for spec in (SMALL, HYBRID)}


def played(prompt: int, computed: int, request: TraceRequest | None = None) -> Played:
    made = request or TraceRequest(0.0, prompt, 8, array("q"), 1)
    sequence = Played("s", CountedTokens(prompt), 8, request=made)
    sequence.num_computed_tokens = computed
    return sequence


@pytest.mark.parametrize("users", [1, 7, 64])
@pytest.mark.parametrize("context", [2, 4096, 100_000])
@pytest.mark.parametrize("spec", [LLAMA_8B, LLAMA_70B, MISTRAL_7B, GEMMA_LIKE, MIXTRAL], ids=lambda spec: spec.name)
def test_a_step_of_equals_takes_what_the_planner_says(spec: ModelSpec, context: int, users: int) -> None:
    """The planner's own figure (roofline.Rank.step_s, checked against published TPOTs) is the witness."""
    rank = rank_of(spec, 2)
    timer = StepTimer(rank)
    decoders = [Chunk(played(context, context - 1), context - 1, 1) for _ in range(users)]
    assert timer.step_s(Step(tuple(decoders))) == pytest.approx(rank.step_s(context, users), rel=1e-12)
    piece = Chunk(played(9000, 4000), 4000, 512)  # not the last piece: the planner counts one logit more
    whole = Chunk(played(4512, 4000), 4000, 512)
    assert timer.step_s(Step((*decoders, whole))) == pytest.approx(rank.step_s(context, users, 512, 4000), rel=1e-12)
    assert timer.step_s(Step((*decoders, piece))) <= timer.step_s(Step((*decoders, whole)))


def test_costs_of_full_attention_rise_in_a_straight_line_and_only_there() -> None:
    timer = StepTimer(rank_of(LLAMA_8B))
    assert timer.slope is not None
    (read, flops), (far_read, far_flops) = timer.decode_cost(10), timer.decode_cost(100_010)
    assert (far_read - read, far_flops - flops) == (100_000 * timer.slope[0], 100_000 * timer.slope[1])
    assert StepTimer(rank_of(MISTRAL_7B)).slope is None and StepTimer(rank_of(GEMMA_LIKE)).slope is None


def requests_of(rows: list[tuple[float, int, int, list[int]]]) -> list[TraceRequest]:
    return [TraceRequest(at, n, out, array("q", keys), line) for line, (at, n, out, keys) in enumerate(rows, 1)]


def run(
    requests: list[TraceRequest],
    spec: ModelSpec = SMALL,
    *,
    blocks: int = 400,
    prefix: bool = False,
    tiers: tuple[Tier, ...] = (),
    policy: str = "lru",
    at_once: bool = True,
    step_tokens: int = 48,
    sequences: int = 5,
    away_bytes: int = 0,
    away_bytes_per_s: float = 1e12,
) -> tuple[Replayed, list[tuple[object, ...]], PrefixTiers | None]:
    timer = TIMERS[spec.name]
    layout = rank_of(spec).layout
    cache = CacheManager(layout, [blocks] * len(layout.groups))
    kept = PrefixTiers(cache, BLOCK, tiers=tiers, policy=policy) if prefix else None
    if away_bytes:
        room = HostRoom(away_bytes, 1, partial(kept.fit_tier, "host") if kept else None)
        block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
        cache.space = away_space(room, block_bytes, away_bytes_per_s, timer)
    log: list[tuple[object, ...]] = []

    def observe(step: Step, times: int) -> None:
        for further in range(times):
            chunks = tuple(
                (chunk.sequence.sequence_id, chunk.start + further * chunk.num_tokens, chunk.num_tokens)
                for chunk in step.chunks
            )
            log.append((chunks, tuple(one.sequence_id for one in step.preempted)))

    config = SchedulerConfig(max_step_tokens=step_tokens, max_sequences=sequences)
    simulator = Simulator(cache, config, timer, kept, observe=observe, at_once=at_once)
    result = simulator.run(requests)
    cache.check()
    assert cache.held_bytes == 0 and (cache.space is None or cache.space.held_bytes == 0)
    return result, log, kept


def test_the_first_token_comes_after_the_prompt_and_the_others_one_step_apart() -> None:
    timer = TIMERS[SMALL.name]
    result, log, _ = run(requests_of([(3.0, 100, 3, [])]))
    assert [[chunk[2] for chunk in chunks] for chunks, _ in log] == [[48], [48], [4], [1], [1]]
    steps = [Step((Chunk(played(100, start), start, count),)) for start, count in ((0, 48), (48, 48), (96, 4))]
    outcome = result.outcomes[0]
    assert outcome.ttft_s == pytest.approx(sum(map(timer.step_s, steps)))
    later = [timer.decode_s(1, *timer.decode_cost(context)) for context in (101, 102)]
    assert outcome.tpot_s == pytest.approx(sum(later) / 2)
    assert result.busy_s == pytest.approx(result.finished_s - 3.0)


def test_a_prompt_that_was_seen_is_found_but_for_its_last_token() -> None:
    keys = list(range(4))
    result, log, kept = run(requests_of([(0.0, 64, 2, keys), (1.0, 64, 2, keys), (2.0, 70, 2, keys)]), prefix=True)
    assert [outcome.num_cached_tokens for outcome in result.outcomes] == [0, 48, 64]
    second = [chunk for chunks, _ in log for chunk in chunks if chunk[0] == "1"]
    assert second[0] == ("1", 48, 16)
    assert kept is not None and kept.found_blocks == [7]
    assert result.outcomes[1].ttft_s < result.outcomes[0].ttft_s


def test_slower_tiers_find_what_the_device_lost_and_take_their_time() -> None:
    key_bytes = kept_block_bytes(rank_of(SMALL).layout, BLOCK)
    # Twenty blocks of 4 tokens, of which the second prompt takes 13: one key of the first one has room beside it.
    rows = [(0.0, 49, 1, [0, 1, 2]), (1.0, 49, 1, [3, 4, 5]), (2.0, 49, 1, [0, 1, 2])]
    tiers = (Tier(name="host", num_bytes=100 * key_bytes, bytes_per_s=3 * key_bytes / 0.5),)
    without, _, _ = run(requests_of(rows), blocks=20, prefix=True)
    result, _, kept = run(requests_of(rows), blocks=20, prefix=True, tiers=tiers)
    assert without.outcomes[2].num_cached_tokens == 16 and result.outcomes[2].num_cached_tokens == 48
    assert kept is not None and kept.found_blocks == [1, 2]
    assert result.outcomes[2].ttft_s == pytest.approx(0.5 * 2 / 3)


def test_preempted_sequences_are_moved_where_that_is_faster_than_computing_again() -> None:
    # Each ends at 45 blocks of 4 tokens; 60 are there for both.
    rows = [(0.0, 80, 100, []), (0.0, 80, 100, [])]
    tokens = 2 * (80 + 100) - 2  # the last token of each is not computed
    again, _, _ = run(requests_of(rows), blocks=60)
    assert again.num_preemptions > 0 and again.num_moves == 0 and again.scheduled_tokens > tokens
    moved, _, _ = run(requests_of(rows), blocks=60, away_bytes=1 << 30)
    assert moved.num_moves == moved.num_preemptions > 0 and moved.scheduled_tokens == tokens
    assert moved.finished_s < again.finished_s
    slow, _, _ = run(requests_of(rows), blocks=60, away_bytes=1 << 30, away_bytes_per_s=1e3)
    assert slow.num_moves == 0 and slow.scheduled_tokens == again.scheduled_tokens


def test_the_room_of_the_moved_is_taken_from_kept_prefixes_and_given_back() -> None:
    left: list[int] = []
    room = HostRoom(1000, 4, left.append)
    assert room.lend(200) and not room.lend(60) and room.lend(50)
    room.take_back(200)
    assert left == [200, 0, 800]
    key_bytes = kept_block_bytes(rank_of(SMALL).layout, BLOCK)
    tier = Tier(name="host", num_bytes=3 * key_bytes, bytes_per_s=1e9)
    cache = CacheManager(rank_of(SMALL).layout, [1])
    kept = PrefixTiers(cache, BLOCK, tiers=(tier,), device=False)
    kept.keep([1, 2, 3], 0, 3)
    kept.release([1, 2, 3], 3)
    kept.fit_tier("host", key_bytes)
    assert [kept.has(key) for key in (1, 2, 3)] == [True, False, False]


def test_what_never_fits_is_refused_with_its_line_and_the_rest_is_served() -> None:
    result, _, _ = run(requests_of([(0.0, 5000, 4, []), (0.0, 40, 4, [])]), blocks=100)
    assert [request.line for request, _ in result.refused] == [1]
    assert "5,004 tokens" in result.refused[0][1]
    assert len(result.outcomes) == 1


def test_many_equal_steps_are_few_calls() -> None:
    """Else the comparison below would compare the plain loop with itself."""
    seen: list[int] = []
    layout = rank_of(SMALL).layout
    cache = CacheManager(layout, [400])
    simulator = Simulator(cache, SchedulerConfig(), TIMERS[SMALL.name], observe=lambda _, times: seen.append(times))
    simulator.run(requests_of([(0.0, 30, 500, []), (0.0, 30, 900, [])]))
    assert sum(seen) == 900 and len(seen) < 10


def test_a_long_prompt_beside_others_is_few_calls_too() -> None:
    """Its pieces take the budget that decodes leave. Arrivals wait meanwhile, and so do those without blocks."""
    rows = [(0.0, 30, 600, []), (0.0, 40, 600, []), (1e-6, 4000, 20, []), (1e-6, 500, 20, []), (0.02, 30, 20, [])]
    for blocks in (1500, 1200):
        seen: list[int] = []
        cache = CacheManager(rank_of(SMALL).layout, [blocks])
        config = SchedulerConfig(max_step_tokens=48)
        simulator = Simulator(cache, config, TIMERS[SMALL.name], observe=lambda _, times, seen=seen: seen.append(times))
        result = simulator.run(requests_of(rows))
        assert len(result.outcomes) == 5 and sum(seen) == result.num_steps > 600
        # 25 tokens are left for it in the second step, then come 86 pieces of 46, and a last one.
        assert 86 in seen and len(seen) < 40


times = st.floats(0, 0.02, allow_nan=False)
rows = st.lists(
    st.tuples(times, st.integers(1, 120), st.integers(1, 60), st.integers(0, 3), st.integers(0, 7)),
    min_size=1,
    max_size=14,
)


@settings(deadline=None, max_examples=100)
@given(
    rows=rows,
    spec=st.sampled_from([SMALL, HYBRID]),
    blocks=st.integers(46, 120),
    prefix=st.booleans(),
    policy=st.sampled_from(["lru", "lfu", "fifo"]),
    host_blocks=st.integers(0, 12),
    away_bytes_per_s=st.sampled_from([0.0, 1e7, 1e12]),
    step_tokens=st.integers(2, 60),
    sequences=st.integers(1, 6),
)
def test_equal_steps_at_once_change_nothing(
    rows: list[tuple[float, int, int, int, int]],
    spec: ModelSpec,
    blocks: int,
    prefix: bool,
    policy: str,
    host_blocks: int,
    away_bytes_per_s: float,
    step_tokens: int,
    sequences: int,
) -> None:
    """The same Steps, the same times to the last bit, the same hits, as the plain loop takes one by one."""
    requests: list[TraceRequest] = []
    arrival = 0.0
    for line, (gap, prompt, output, root, shared) in enumerate(rows, 1):
        arrival += gap
        # Keys of a chain: `shared` blocks of one of four roots, then blocks of its own.
        whole = prompt // BLOCK
        keys = [root * 100 + depth if depth < shared else line * 1000 + depth for depth in range(whole)]
        requests.append(TraceRequest(arrival, prompt, output, array("q", keys), line))
    key_bytes = kept_block_bytes(rank_of(spec).layout, BLOCK)
    tiers = (Tier(name="host", num_bytes=host_blocks * key_bytes, bytes_per_s=1e9),) if host_blocks else ()
    both = [
        run(
            requests,
            spec,
            blocks=blocks,
            prefix=prefix,
            tiers=tiers,
            policy=policy,
            at_once=at_once,
            step_tokens=step_tokens,
            sequences=sequences,
            away_bytes=host_blocks * key_bytes if away_bytes_per_s else 0,
            away_bytes_per_s=away_bytes_per_s,
        )
        for at_once in (False, True)
    ]
    (plain, plain_log, plain_kept), (fast, fast_log, fast_kept) = both
    assert fast_log == plain_log
    assert fast.outcomes == plain.outcomes
    assert (fast.num_steps, fast.scheduled_tokens, fast.num_preemptions, fast.num_moves) == (
        plain.num_steps,
        plain.scheduled_tokens,
        plain.num_preemptions,
        plain.num_moves,
    )
    assert len(plain.outcomes) == len(requests) and not plain.refused
    if plain_kept is not None and fast_kept is not None:
        assert fast_kept.found_blocks == plain_kept.found_blocks
