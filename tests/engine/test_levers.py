"""Levers on the engine, with transformers as the witness where it can do the same: masks, and what they leave."""

from pathlib import Path

import pytest
import torch

from tests.cases.families import save_tiny
from tests.engine.harness import greedy, make_engine, run_all
from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.read import read_model
from windowtax.engine.load import LoadedModel, load_model
from windowtax.spec.dtypes import cache_dtype
from windowtax.store.codecs.base import storable
from windowtax.store.kv import refuse_unstorable

PROMPT = [(7 * i * i + 5) % 150 + 3 for i in range(57)]
OUTPUT = 20
MARGIN = 1e-3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    folder = tmp_path_factory.mktemp("model")
    return folder, save_tiny("llama", folder)


@torch.no_grad()
def masked_greedy(model: torch.nn.Module, sinks: int, window: int) -> list[int]:
    """transformers' greedy tokens under a mask of our own, up to the first narrow choice."""
    tokens = list(PROMPT)
    for _ in range(OUTPUT):
        at = torch.arange(len(tokens))
        query, key = at[:, None], at[None, :]
        visible = (key <= query) & ((key < sinks) | (key > query - window))
        mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
        best = model(torch.tensor([tokens]), attention_mask=mask[None, None]).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < MARGIN:
            break
        tokens.append(int(best.indices[0]))
    return tokens[len(PROMPT) :]


def ours(model: LoadedModel, **options: object) -> list[int]:
    return run_all(make_engine(model, len(PROMPT) + OUTPUT, **options), [PROMPT], greedy(OUTPUT))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(("sinks", "window"), [(4, 12), (1, 30), (10, 3), (0, 16), (40, 5)])
def test_sinks_and_a_window_are_transformers_under_that_mask(saved, sinks: int, window: int) -> None:
    folder, theirs = saved
    expected = masked_greedy(theirs, sinks, window)
    lever = f"full=sinks:{sinks}+window:{window}" if sinks else f"full=window:{window}"
    model = load_model(folder, dtype="fp32", attention=lever)
    assert len(expected) > OUTPUT // 2
    for step_tokens in (3, 64):
        assert ours(model, step_tokens=step_tokens)[: len(expected)] == expected


@pytest.mark.parametrize("lever", ["full=sinks:4+window:73", "full=topk:20+block:4", "full=topk:10+block:8", None])
def test_a_lever_that_leaves_out_nothing_changes_nothing(saved, lever: str | None) -> None:
    folder, theirs = saved
    expected = masked_greedy(theirs, 0, 10_000)
    found = ours(load_model(folder, dtype="fp32", attention=lever), step_tokens=16)
    assert len(expected) > OUTPUT // 2
    assert found[: len(expected)] == expected


def test_a_lever_that_leaves_out_much_changes_the_answer(saved) -> None:
    folder, _ = saved
    dense = ours(load_model(folder, dtype="fp32"))
    for lever in ("full=sinks:1+window:4", "full=topk:1+block:4"):
        assert ours(load_model(folder, dtype="fp32", attention=lever)) != dense


def test_block_summaries_are_bounds_of_the_keys_that_are_kept(saved) -> None:
    folder, _ = saved
    model = load_model(folder, dtype="fp32", attention="full=topk:2+block:8")
    engine = make_engine(model, 60, step_tokens=7, cache_dtype="int8")
    engine.add(PROMPT[:45], greedy(2))
    while engine.scheduler.running or engine.scheduler.waiting:
        if engine.step()[-1].num_computed_tokens >= 45:
            break
    store, (sequence,) = engine.runner.store, engine.scheduler.running
    step = engine.scheduler.schedule()
    (rows,) = engine.runner.inputs(step).sequences
    (kept,), (summed,) = store.parts(1, "k"), store.parts(1, "block_min")
    keys = kept.vectors["k"].read(rows.extents[kept.group])[:40].unflatten(0, (5, 8))
    extent = rows.extents[summed.group].part(0, 5)
    least, most = (summed.vectors[name].read(extent).float() for name in ("block_min", "block_max"))
    assert sequence.num_computed_tokens == 45
    assert bool((least <= keys.amin(1)).all() and (most >= keys.amax(1)).all())
    torch.testing.assert_close(least, keys.amin(1), rtol=2**-7, atol=0)
    torch.testing.assert_close(most, keys.amax(1), rtol=2**-7, atol=0)


def test_means_are_planned_but_not_computed(saved) -> None:
    with pytest.raises(UnsupportedModel, match="not by mean"):
        load_model(saved[0], dtype="fp32", attention="full=topk:2+block:8+summary:mean")


def test_what_the_store_keeps_is_said_where_it_does_not() -> None:
    assert storable() == ("fp32", "bf16", "fp16", "fp8", "fp8_token_head", "int8", "int4_channel")
    spec = read_model("qwen3-8b")
    for name, message in (
        ("mxfp8", "does not store a cache of fp8 like this"),
        ("q8_0", "does not store a cache of int8 like this"),
        ("int4", "does not store a cache of int4 like this"),
        ("int4_hadamard", "does not keep keys in int4_hadamard"),
        ("int8/turboquant_k8v4", "does not store a cache of int4 like this"),
    ):
        with pytest.raises(BadInput, match=message):
            refuse_unstorable(spec.layout(cache_dtype(name)))
    refuse_unstorable(spec.layout(cache_dtype("k4v4"), 64))
    with pytest.raises(BadInput, match="Blocks of 16 tokens"):
        refuse_unstorable(spec.layout(cache_dtype("k4v4"), 16))


def test_blocks_that_channels_cannot_fill_are_refused(saved) -> None:
    model = load_model(saved[0], dtype="fp32", attention="full=topk:2+block:16")
    with pytest.raises(BadInput, match="block:32"):
        model.spec.layout(cache_dtype("k4v4"))
