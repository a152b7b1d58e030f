"""Law 1: planned bytes = allocated bytes = billed bytes, to the byte, for every family, stored cache dtype and lever.

The engine's own tensors are the witness of the allocation, and the blocks in its tables of what was held.
"""

from pathlib import Path

import pytest
from tests.cases.families import FAMILIES, save_tiny
from tests.engine.harness import block_size_of, greedy, make_engine

from windowtax.cache.shared import SharedCache
from windowtax.engine.books import books_of
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.memory import shared_pool
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype
from windowtax.store.codecs.base import storable

PROMPT, OUTPUT = 45, 9
DTYPES = (*storable(), "k8v4", "k4v4", "int8+edges:1")
LEVERS = ("full=window:13", "full=sinks:3+window:13", "full=sinks:33+window:4", "full=topk:2+block:32")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save_tiny(request.param, folder)
    return load_model(folder, dtype="fp32")


@pytest.fixture(scope="module", params=LEVERS)
def levered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save_tiny("llama", folder)
    return load_model(folder, dtype="fp32", attention=request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step_tokens", [7, 16, 64])
def test_planned_is_allocated_is_billed(model: LoadedModel, dtype: str, step_tokens: int) -> None:
    check(model, dtype, step_tokens)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step_tokens", [7, 64])
def test_and_under_every_lever(levered: LoadedModel, dtype: str, step_tokens: int) -> None:
    check(levered, dtype, step_tokens)


def check(model: LoadedModel, dtype: str, step_tokens: int) -> None:
    block_size = block_size_of(dtype)
    layout = model.spec.layout(cache_dtype(dtype), block_size)
    engine = make_engine(model, PROMPT + OUTPUT, step_tokens=step_tokens, cache_dtype=dtype, block_size=block_size)
    assert engine.cache.layout == layout
    planned = layout.pool_bytes_for(PROMPT + OUTPUT, step_tokens)
    assert engine.runner.store.nbytes == planned
    assert engine.runner.store.nbytes == sum(
        tensor.element_size() * tensor.numel() for group in engine.runner.store.planes for tensor in group.values()
    )
    request = engine.add(list(range(3, 3 + PROMPT)), greedy(OUTPUT))
    while engine.has_work:
        engine.step()
        assert engine.cache.held_bytes <= planned
    held = layout.pool_bytes(layout.peak_blocks_of_run(PROMPT, OUTPUT, step_tokens))
    assert request.meter.peak_bytes == engine.cache.peak_bytes == held
    assert engine.cache.held_bytes == 0


@pytest.mark.parametrize("dtype", ["fp32", "k8v4"])
@pytest.mark.parametrize("family", ["qwen3.5, states", "short convolutions (LFM2)"])
def test_checkpoints_are_blocks_of_the_pool(family: str, dtype: str, tmp_path: Path) -> None:
    """What is kept of prompts that are gone: whole blocks of rows, begun ones, and states; nothing beside the pool."""
    save_tiny(family, tmp_path)
    model = load_model(tmp_path, dtype="fp32")
    layout = model.spec.layout(cache_dtype(dtype), 4)
    given = 6 * layout.pool_bytes_for(PROMPT + OUTPUT, 16)
    cache = SharedCache(layout, shared_pool(layout, PROMPT + OUTPUT, 16, 2, given))
    engine = Engine(model, cache, SchedulerConfig(max_step_tokens=16, max_sequences=2), PROMPT + OUTPUT)
    assert engine.runner.store.nbytes == layout.pool_bytes(cache.num_blocks) <= given
    for first in range(3, 12):
        engine.add(list(range(first, first + PROMPT)), greedy(OUTPUT))
    while engine.has_work:
        engine.step()
        assert cache.held_bytes <= engine.runner.store.nbytes
    (states,) = [group for group, one in enumerate(layout.groups) if one.cache.is_state]
    assert books_of(engine)["state_checkpoints"] == cache.pools[states].num_held > 0
    rows = sum(cache.pools[group].num_held * layout.block_bytes(group) for group in range(len(layout.groups)))
    assert cache.kept_bytes == cache.held_bytes == rows
    assert layout.checkpoint_blocks is not None
    apart_bytes = layout.checkpoint_blocks * layout.growth * 4
    assert apart_bytes - layout.growth * 4 < layout.state_bytes <= apart_bytes, "no more bytes than the rows between"
    cache.forget()
    assert cache.held_bytes == 0


@pytest.mark.parametrize("dtype", ["bf16", "int8", "k4v4"])
def test_every_row_of_the_pool_is_written_where_the_layout_says(model: LoadedModel, dtype: str) -> None:
    """What a sequence holds is what it wrote: the tokens' slots, in every layer and plane, and nothing else."""
    block_size = block_size_of(dtype)
    engine = make_engine(model, PROMPT + 1, step_tokens=64, cache_dtype=dtype, block_size=block_size)
    engine.add(list(range(3, 3 + PROMPT)), greedy(1))
    step = engine.scheduler.schedule()
    inputs = engine.runner.inputs(step)
    engine.runner.run(step)
    for group, slots, planes in zip(engine.cache.layout.groups, inputs.slots, engine.runner.store.planes, strict=True):
        written = set(slots.tolist())
        for plane in group.cache.planes:
            rows = planes[plane.name].unflatten(-1, (-1, plane.row_bytes)).flatten(1, 2).any(-1)
            expected = {slot // plane.span for slot in written}
            if group.cache.is_state:
                expected = {0}
            elif plane.name == "k" and dtype == "k4v4":
                # Whole spans are kept; the begun one waits in the tail.
                expected = {slot for slot in written if slot < PROMPT // 32 * 32}
            elif plane.span > 1:
                expected = set(range(PROMPT // plane.span))
            for layer in rows:
                assert set(layer.nonzero().flatten().tolist()) == expected
