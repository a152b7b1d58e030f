"""Law 1: planned bytes = allocated bytes = billed bytes, to the byte, for every family and every stored cache dtype.

The engine's own tensors are the witness of the allocation, and the blocks in its tables of what was held.
"""

import pytest
from tests.cases.families import FAMILIES, save_tiny
from tests.engine.harness import greedy, make_engine

from windowtax.engine.load import LoadedModel, load_model
from windowtax.ops.dtypes import TORCH_DTYPES
from windowtax.spec.dtypes import cache_dtype

PROMPT, OUTPUT = 45, 9


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    save_tiny(request.param, folder)
    return load_model(folder, dtype="fp32")


@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))
@pytest.mark.parametrize("step_tokens", [7, 16, 64])
def test_planned_is_allocated_is_billed(model: LoadedModel, dtype: str, step_tokens: int) -> None:
    layout = model.spec.layout(cache_dtype(dtype), block_size=4)
    engine = make_engine(model, PROMPT + OUTPUT, step_tokens=step_tokens, cache_dtype=dtype, block_size=4)
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


def test_every_row_of_the_pool_is_written_where_the_layout_says(model: LoadedModel) -> None:
    """What a sequence holds is what it wrote: the tokens' slots, in every layer and plane, and nothing else."""
    engine = make_engine(model, PROMPT + 1, step_tokens=64, block_size=4)
    request = engine.add(list(range(3, 3 + PROMPT)), greedy(1))
    step = engine.scheduler.schedule()
    inputs = engine.runner.inputs(step)
    model.decoder.forward(inputs)
    for group, planes in enumerate(engine.runner.store.planes):
        for tensor in planes.values():
            written = tensor.flatten(1, 2).flatten(2).abs().sum(-1) > 0
            assert written.sum(dim=1).tolist() == [len(set(inputs.slots[group].tolist()))] * tensor.shape[0]
    assert request.sequence.num_prompt_tokens == PROMPT
