"""Law 5 for caches in few bits and for levers: the same tokens cold, in chunks, together, preempted, and with guesses.

What is right comes from our own cold run in one chunk, whose witnesses are elsewhere: codecs against their
definitions (test_codecs_equal_definition.py), levers against transformers (tests/engine/test_levers.py). A choice is
only compared where the best logit is ahead by more than a code that falls to the other side of a tie can move it.
"""

from pathlib import Path

import numpy as np
import pytest
from tests.cases.families import save_tiny
from tests.engine.harness import block_size_of, greedy, make_engine, run_all

from windowtax.engine.candidates import likeliest
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.schedule.step import Step
from windowtax.spec.dtypes import cache_dtype

OUTPUT = 12
MARGIN = 1e-2
PROMPTS = [[(7 * i * i + 3 * n) % 150 + 3 for i in range(n)] for n in (33, 5, 91, 18)]
LONGEST = max(map(len, PROMPTS)) + OUTPUT
DTYPES = ("bf16", "fp8", "fp8_token_head", "int8", "k8v4", "k4v4")
CASES = (
    *(("llama", None, dtype) for dtype in DTYPES),
    *(("gemma3", None, dtype) for dtype in ("int8", "k4v4")),
    *(("mistral, window", None, dtype) for dtype in ("k8v4", "k4v4")),
    *(("llama", "full=sinks:3+window:11", dtype) for dtype in ("fp32", "k4v4")),
    *(("llama", "full=sinks:37+window:40", dtype) for dtype in ("fp32", "k4v4")),
    *(("llama", "full=window:20", dtype) for dtype in ("fp32", "k4v4")),
    *(("llama", "full=topk:3+block:8", dtype) for dtype in ("fp32", "k8v4")),
    *(("qwen3.5, states", None, dtype) for dtype in ("bf16", "k4v4")),
    *(("gemma2", "full=topk:2+block:32", dtype) for dtype in ("fp32", "int8", "k4v4")),
)
Case = tuple[LoadedModel, str, list[list[int]]]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: ", ".join(map(str, case)))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family, attention, dtype = request.param
    folder: Path = tmp_path_factory.mktemp("model")
    save_tiny(family, folder)
    model = load_model(folder, dtype="fp32", attention=attention)
    expected = [_cold_until_narrow(model, prompt, dtype) for prompt in PROMPTS]
    assert sum(map(len, expected)) > 0.4 * OUTPUT * len(PROMPTS), "the guard lets too little through"
    return model, dtype, expected


def _engine(
    model: LoadedModel, dtype: str, step_tokens: int, windows: int = 1, draft_tokens: int = 0, block_size: int = 0
) -> Engine:
    return make_engine(
        model,
        LONGEST,
        step_tokens=step_tokens,
        cache_dtype=dtype,
        block_size=block_size or block_size_of(dtype),
        windows=windows,
        draft_tokens=draft_tokens,
    )


def _cold_until_narrow(
    model: LoadedModel, prompt: list[int], dtype: str, block_size: int = 0, margin: float = MARGIN
) -> list[int]:
    engine = _engine(model, dtype, step_tokens=256, block_size=block_size)
    wide: list[bool] = []
    run = engine.runner.run

    def watched(step: Step) -> list[int]:
        logits = run(step)
        best = np.sort(logits, axis=-1)[:, ::-1]
        wide.extend((best[:, 0] - best[:, 1] > margin).tolist())
        return likeliest(logits)

    engine.runner.choose = watched
    tokens = run_all(engine, [prompt], greedy(OUTPUT))[0]
    return tokens[: wide.index(False)] if False in wide else tokens


def _same(outputs: list[list[int]], expected: list[list[int]]) -> None:
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours[: len(theirs)] == theirs


@pytest.mark.parametrize("step_tokens", [1, 7, 45])
def test_alone_in_chunks_of_any_size(case: Case, step_tokens: int) -> None:
    model, dtype, expected = case
    outputs = [run_all(_engine(model, dtype, step_tokens), [prompt], greedy(OUTPUT))[0] for prompt in PROMPTS]
    _same(outputs, expected)


def test_together(case: Case) -> None:
    model, dtype, expected = case
    engine = _engine(model, dtype, step_tokens=24, windows=len(PROMPTS))
    _same(run_all(engine, PROMPTS, greedy(OUTPUT)), expected)
    assert engine.cache.held_bytes == 0


def test_preempted_and_computed_again(case: Case) -> None:
    """A pool of one window: others wait, or are thrown out and begin anew where another sequence left its bytes."""
    model, dtype, expected = case
    engine = _engine(model, dtype, step_tokens=16)
    requests = [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]
    while engine.has_work:
        engine.step()
        engine.cache.check()
    _same([request.output_ids for request in requests], expected)


def test_with_guesses(case: Case) -> None:
    """Wrong guesses were written into the cache; nothing that comes later may depend on them."""
    model, dtype, expected = case
    if model.spec.layout(cache_dtype(dtype)).state_bytes:
        pytest.skip("states give no guess back: refused (test_ways_agree.py)")
    engine = _engine(model, dtype, step_tokens=64, windows=2, draft_tokens=5)
    for request in (requests := [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]):
        assert request.lookup is not None
        # Guesses that are always there, and mostly wrong.
        request.lookup.draft = lambda count, ids=request.sequence.token_ids: [(ids[-1] * 5) % 150 + 3] * count
    while engine.has_work:
        engine.step()
    _same([request.output_ids for request in requests], expected)
    assert any(request.meter.drafted_tokens for request in requests)
