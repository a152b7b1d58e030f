"""Law 7: the simulator takes the same Steps as the engine for the same trace.

Both get requests of the same lengths, at the same step numbers: the engine computes them with a tiny model, the
simulator counts. Compared is every step: which sequences, from which token, how many, and who was preempted.
"""

from array import array

import pytest
from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine

from windowtax.cache.manager import CacheManager
from windowtax.cache.offload import OffloadSpace
from windowtax.cache.tiers import Books, Speeds
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.offload import HostSpace
from windowtax.plan.replay.trace import TraceRequest
from windowtax.plan.simulate import Simulator
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.schedule.step import Step

FAMILIES = ["llama", "mistral, window", "gemma3"]
LogEntry = tuple[list[tuple[str, int, int]], list[str]]
# (step at which it arrives, prompt tokens, output tokens)
TRACES = {
    "one long prompt in chunks": [(0, 61, 9)],
    "several at once": [(0, 33, 12), (0, 5, 7), (0, 61, 3), (0, 18, 12)],
    "arrivals between steps": [(0, 40, 14), (2, 9, 20), (3, 25, 1), (3, 1, 6), (11, 50, 5), (30, 12, 12)],
    "a pause": [(0, 20, 4), (60, 20, 4)],
    "many short ones": [(i // 2, 3 + 5 * i % 11, 2 + 7 * i % 13) for i in range(14)],
}


class SecondPerStep:
    """A clock under which every step takes a second, so that step numbers and arrival times are one thing."""

    slope = (0, 0)

    def step_s(self, step: Step) -> float:
        return 1.0

    def decode_costs(self, contexts: list[int]) -> tuple[int, int]:
        return 0, 0

    def decode_s(self, users: int, read_bytes: int, score_flops: int) -> float:
        return 1.0

    def mixed_s(self, users: int, read_bytes: int, score_flops: int, start: int, count: int) -> float:
        return 1.0


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save_tiny(request.param, folder)
    return load_model(folder, dtype="fp32")


def entry(step: Step, further: int = 0) -> LogEntry:
    chunks = [
        (chunk.sequence.sequence_id, chunk.start + further * chunk.num_tokens, chunk.num_tokens)
        for chunk in step.chunks
    ]
    return chunks, [sequence.sequence_id for sequence in step.preempted]


def engine_steps(engine: Engine, trace: list[tuple[int, int, int]]) -> list[LogEntry]:
    """What the engine's scheduler chose; requests are added before the step that they arrive at."""
    log: list[LogEntry] = []
    schedule = engine.scheduler.schedule

    def listen() -> Step:
        step = schedule()
        log.append(entry(step))
        return step

    engine.scheduler.schedule = listen
    waiting, now = list(trace), 0
    while waiting or engine.has_work:
        if not engine.has_work:
            now = max(now, waiting[0][0])  # an idle engine waits; no step is taken
        while waiting and waiting[0][0] <= now:
            _, prompt, output = waiting.pop(0)
            engine.add([(7 * i * i + 3 * prompt) % 150 + 3 for i in range(prompt)], greedy(output))
        engine.step()
        now += 1
    return log


class MovesAlways(Speeds):
    """Measured rates would make the engine's choice another one from run to run."""

    def moves(self, num_bytes: int, num_tokens: int) -> bool:
        return True


def with_space(engine: Engine, kind: type[OffloadSpace]) -> Engine:
    """The engine with host RAM for what is preempted."""
    layout, cache = engine.cache.layout, engine.cache
    sizes = [layout.block_bytes(group) for group in range(len(layout.groups))]
    cache.space = kind(Books(1 << 20), sizes, MovesAlways())
    cache.bind(engine.runner.store)
    return engine


def simulator_steps(
    engine: Engine, trace: list[tuple[int, int, int]], *, at_once: bool
) -> tuple[list[LogEntry], Simulator]:
    log: list[LogEntry] = []

    def observe(step: Step, times: int) -> None:
        log.extend(entry(step, further) for further in range(times))

    cache = CacheManager(engine.cache.layout, engine.cache.num_blocks, engine.cache.space)
    simulator = Simulator(cache, engine.scheduler.config, SecondPerStep(), observe=observe, at_once=at_once)
    requests = [
        TraceRequest(float(step), prompt, output, array("q"), line)
        for line, (step, prompt, output) in enumerate(trace, 1)
    ]
    simulator.run(requests)
    return log, simulator


@pytest.mark.parametrize("at_once", [False, True], ids=["step by step", "equal steps at once"])
@pytest.mark.parametrize("windows", [1, 3], ids=["tight pool", "roomy pool"])
@pytest.mark.parametrize("step_tokens", [7, 64])
@pytest.mark.parametrize("trace", TRACES)
def test_same_steps(model: LoadedModel, trace: str, step_tokens: int, windows: int, at_once: bool) -> None:
    requests = TRACES[trace]
    longest = max(prompt + output for _, prompt, output in requests)
    engine = make_engine(model, longest, step_tokens=step_tokens, windows=windows)
    theirs = engine_steps(engine, requests)
    ours, simulator = simulator_steps(
        make_engine(model, longest, step_tokens=step_tokens, windows=windows), requests, at_once=at_once
    )
    renamed = [
        ([(f"request-{name}", *rest) for name, *rest in chunks], [f"request-{name}" for name in gone])
        for chunks, gone in ours
    ]
    assert renamed == theirs
    assert simulator.result.num_preemptions == sum(len(gone) for _, gone in theirs)
    assert simulator.cache.held_bytes == engine.cache.held_bytes == 0


@pytest.mark.parametrize("at_once", [False, True], ids=["step by step", "equal steps at once"])
@pytest.mark.parametrize("step_tokens", [7, 64])
@pytest.mark.parametrize("trace", TRACES)
def test_same_steps_where_the_preempted_are_moved(
    model: LoadedModel, trace: str, step_tokens: int, at_once: bool
) -> None:
    requests = TRACES[trace]
    longest = max(prompt + output for _, prompt, output in requests)
    engine, books = (make_engine(model, longest, step_tokens=step_tokens) for _ in range(2))
    theirs = engine_steps(with_space(engine, HostSpace), requests)
    ours, simulator = simulator_steps(with_space(books, OffloadSpace), requests, at_once=at_once)
    renamed = [
        ([(f"request-{name}", *rest) for name, *rest in chunks], [f"request-{name}" for name in gone])
        for chunks, gone in ours
    ]
    assert renamed == theirs
    spaces = engine.cache.space, simulator.cache.space
    assert [space is not None and space.held_bytes for space in spaces] == [0, 0]
    gone = simulator.result.num_preemptions
    assert all(space is not None and bool(space.loaded_bytes) == (gone > 0) for space in spaces)


def test_the_traces_cover_what_they_should(model: LoadedModel) -> None:
    """Chunked prefill, several sequences in one step, and preemption where layers keep everything."""
    requests = TRACES["several at once"]
    log = engine_steps(make_engine(model, 64, step_tokens=7), requests)
    starts = {(name, start) for chunks, _ in log for name, start, tokens in chunks if tokens > 1}
    assert len([start for name, start in starts if name == "request-2"]) > 3
    assert any(len(chunks) > 1 for chunks, _ in log)
    if all(group.cache.grows for group in make_engine(model, 64).cache.layout.groups):
        assert any(gone for _, gone in log)


def test_a_full_house_is_scheduled_alike(model: LoadedModel) -> None:
    """More requests than may run at once: the others wait, and equal steps are still taken at once."""
    requests = [(0, 6, 17), (0, 4, 11), (0, 9, 25), (0, 3, 8), (2, 5, 9)]
    engines = [make_engine(model, 64, step_tokens=16, windows=4) for _ in range(2)]
    for engine in engines:
        engine.scheduler.config = SchedulerConfig(max_step_tokens=16, max_sequences=2)
    theirs = engine_steps(engines[0], requests)
    ours, simulator = simulator_steps(engines[1], requests, at_once=True)
    assert [([tuple(rest) for _, *rest in chunks], len(gone)) for chunks, gone in ours] == [
        ([tuple(rest) for _, *rest in chunks], len(gone)) for chunks, gone in theirs
    ]
    assert simulator.result.num_steps == len(theirs)
