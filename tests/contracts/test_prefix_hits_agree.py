"""Law 5 for kept prefixes: the tokens behind a cached prefix are those of a cold start, for every family that runs,
computed by torch and by the native kernels, also when the pool is so small that prefixes and sequences must go."""

import pytest
from tests.cases.families import FAMILIES, save_tiny
from tests.contracts.test_ways_agree import _greedy_until_narrow, _same
from tests.engine.harness import greedy
from tests.native.harness import BLOCK_SIZE, computes, load_native

from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.memory import shared_pool
from windowtax.ops.native import native_state
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype

OUTPUT = 6
STEM = [(5 * i * i + 7) % 150 + 3 for i in range(70)]
PROMPTS = [[*STEM, *((11 * i + n) % 150 + 3 for i in range(n))] for n in (1, 30, 9, 45)] + [STEM[:66]]
LONGEST = max(map(len, PROMPTS)) + OUTPUT
BACKENDS = ["torch"] if native_state().module is None else ["torch", "native"]

Witnessed = tuple[dict[str, LoadedModel], list[list[int]]]


@pytest.fixture(scope="module", params=FAMILIES)
def witnessed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    folder = tmp_path_factory.mktemp("model")
    theirs = save_tiny(request.param, folder)
    expected = []
    for prompt in PROMPTS:
        tokens = _greedy_until_narrow(theirs, prompt)
        expected.append(tokens[:OUTPUT])
    models = {"torch": load_model(folder, dtype="fp32")}
    if "native" in BACKENDS and computes(models["torch"].spec):
        models["native"] = load_native(folder)
    return models, expected


def having(witnessed: Witnessed, backend: str) -> Witnessed:
    """The same, where that backend computes the family."""
    if backend not in witnessed[0]:
        pytest.skip("torch alone computes this family")
    return witnessed


def _engine(model: LoadedModel, block_size: int, windows: float) -> Engine:
    layout = model.spec.layout(cache_dtype("fp32"), block_size)
    need = layout.pool_bytes_for(LONGEST, 16)
    blocks = shared_pool(layout, LONGEST, 16, 4, int(windows * need))
    config = SchedulerConfig(max_step_tokens=16, max_sequences=4, share_prefill=True)
    return Engine(model, SharedCache(layout, blocks), config, LONGEST)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_after_the_other(witnessed: Witnessed, backend: str) -> None:
    models, expected = having(witnessed, backend)
    block_size = BLOCK_SIZE if backend == "native" else 4
    engine = _engine(models[backend], block_size, 8)
    requests = []
    for prompt in PROMPTS:
        request = engine.add(prompt, greedy(OUTPUT))
        while engine.has_work:
            engine.step()
            engine.cache.check()
        requests.append(request)
    _same([request.output_ids for request in requests], expected)
    assert requests[0].num_cached_tokens == 0
    assert all(request.num_cached_tokens >= len(STEM) // BLOCK_SIZE * BLOCK_SIZE for request in requests[1:4])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("windows", [1, 2.5])
def test_all_at_once_in_a_small_pool(witnessed: Witnessed, backend: str, windows: float) -> None:
    models, expected = having(witnessed, backend)
    engine = _engine(models[backend], BLOCK_SIZE if backend == "native" else 4, windows)
    for _ in range(2):
        requests = [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]
        for _step in range(2000):
            if not engine.has_work:
                break
            engine.step()
            engine.cache.check()
        _same([request.output_ids for request in requests], expected)
    assert isinstance(engine.cache, SharedCache)
    engine.cache.forget()
    assert engine.cache.held_bytes == 0
