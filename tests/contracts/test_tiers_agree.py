"""Law 5 for the tiers: the tokens behind a prefix that was read from disk after a restart are those of a cold start,
for every family that runs, computed by torch and by the native kernels."""

from pathlib import Path

import pytest
from tests.cases.families import FAMILIES, save_tiny
from tests.contracts.test_prefix_hits_agree import BACKENDS, LONGEST, OUTPUT, PROMPTS, STEM, Witnessed, having
from tests.contracts.test_ways_agree import _greedy_until_narrow, _same
from tests.engine.harness import greedy
from tests.native.harness import BLOCK_SIZE, computes, load_native

from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.memory import shared_pool
from windowtax.engine.tier_options import TierOptions, open_tiers
from windowtax.engine.tiering import TieredCache
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype


@pytest.fixture(scope="module", params=FAMILIES)
def witnessed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    folder = tmp_path_factory.mktemp("model")
    theirs = save_tiny(request.param, folder)
    expected = [_greedy_until_narrow(theirs, prompt)[:OUTPUT] for prompt in PROMPTS]
    models = {"torch": load_model(folder, dtype="fp32")}
    if "native" in BACKENDS and computes(models["torch"].spec):
        models["native"] = load_native(folder)
    return models, expected


def _engine(model: LoadedModel, folder: Path) -> tuple[Engine, TieredCache]:
    layout = model.spec.layout(cache_dtype("fp32"), BLOCK_SIZE)
    blocks = shared_pool(layout, LONGEST, 16, 4, 8 * layout.pool_bytes_for(LONGEST, 16))
    fingerprint = model.fingerprint("fp32")
    options = TierOptions(ram_bytes=1 << 20, ssd=folder, ssd_bytes=1 << 30)
    lower = open_tiers(options, fingerprint=fingerprint, layout=layout)
    assert lower is not None
    cache = TieredCache(layout, blocks, lower, fingerprint=fingerprint)
    config = SchedulerConfig(max_step_tokens=16, max_sequences=4, share_prefill=True)
    engine = Engine(model, cache, config, LONGEST)
    cache.bind(engine.runner.store)
    return engine, cache


def _answer(engine: Engine, cache: TieredCache, prompt: list[int]) -> tuple[list[int], int]:
    """The output, and how many tokens of the prompt were found."""
    while not cache.ready("ahead", prompt, ""):
        cache.wait(1.0)
    cache.free("ahead")
    request = engine.add(prompt, greedy(OUTPUT))
    while engine.has_work:
        engine.step()
        cache.check()
    return request.output_ids, request.num_cached_tokens


@pytest.mark.parametrize("backend", BACKENDS)
def test_after_a_restart(witnessed: Witnessed, backend: str, tmp_path: Path) -> None:
    models, expected = having(witnessed, backend)
    engine, cache = _engine(models[backend], tmp_path)
    _same([_answer(engine, cache, prompt)[0] for prompt in PROMPTS], expected)
    cache.close()
    for prompt, wanted in zip(PROMPTS, expected, strict=True):
        # Each prompt in a life of its own: what it finds is from the disk.
        engine, cache = _engine(models[backend], tmp_path)
        tokens, found = _answer(engine, cache, prompt)
        _same([tokens], [wanted])
        if cache.can_share:
            assert found == (len(prompt) - 1) // BLOCK_SIZE * BLOCK_SIZE >= len(STEM[:66]) // BLOCK_SIZE * BLOCK_SIZE
            assert cache.lower.disk is not None and cache.lower.disk.counters.read_records > 0
        cache.close()
