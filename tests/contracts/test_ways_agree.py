"""Law 5: the same tokens whichever way they were computed: in any chunks, batched, preempted, with full or tight pools.

Greedy on tiny float32 models. A choice is only compared where the best logit is ahead by more than rounding can move
it; the guard makes sure that this holds for nearly all of them.
"""

import pytest
import torch
from tests.cases.families import FAMILIES, save_tiny
from tests.engine.harness import greedy, make_engine, run_all

from windowtax.base.errors import BadInput
from windowtax.engine.load import LoadedModel, load_model
from windowtax.spec.dtypes import cache_dtype

OUTPUT = 12
MARGIN = 1e-3
PROMPTS = [[(7 * i * i + 3 * n) % 150 + 3 for i in range(n)] for n in (33, 5, 61, 18)]


@pytest.fixture(scope="module", params=FAMILIES)
def witnessed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """Our model, and transformers' greedy tokens for each prompt up to the first narrow choice."""
    folder = tmp_path_factory.mktemp("model")
    theirs = save_tiny(request.param, folder)
    expected = [_greedy_until_narrow(theirs, prompt) for prompt in PROMPTS]
    assert sum(map(len, expected)) > 0.8 * OUTPUT * len(PROMPTS), "the guard lets too little through"
    return load_model(folder, dtype="fp32"), expected


@torch.no_grad()
def _greedy_until_narrow(model: torch.nn.Module, prompt: list[int]) -> list[int]:
    tokens = list(prompt)
    for _ in range(OUTPUT):
        best = model(torch.tensor([tokens])).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < MARGIN:
            break
        tokens.append(int(best.indices[0]))
    return tokens[len(prompt) :]


def _same(outputs: list[list[int]], expected: list[list[int]]) -> None:
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours[: len(theirs)] == theirs


LONGEST = max(map(len, PROMPTS)) + OUTPUT


@pytest.mark.parametrize("step_tokens", [1, 5, 16, 256])
def test_alone_in_chunks_of_any_size(witnessed: tuple[LoadedModel, list[list[int]]], step_tokens: int) -> None:
    model, expected = witnessed
    outputs = [
        run_all(make_engine(model, LONGEST, step_tokens=step_tokens), [prompt], greedy(OUTPUT))[0] for prompt in PROMPTS
    ]
    _same(outputs, expected)


@pytest.mark.parametrize("step_tokens", [4, 24, 256])
def test_together(witnessed: tuple[LoadedModel, list[list[int]]], step_tokens: int) -> None:
    model, expected = witnessed
    engine = make_engine(model, LONGEST, step_tokens=step_tokens, windows=len(PROMPTS))
    _same(run_all(engine, PROMPTS, greedy(OUTPUT)), expected)
    assert engine.cache.held_bytes == 0


def test_preempted_and_computed_again(witnessed: tuple[LoadedModel, list[list[int]]]) -> None:
    """A pool of little more than one window: later requests are thrown out and begin anew, some more than once."""
    model, expected = witnessed
    engine = make_engine(model, LONGEST, step_tokens=16, states=len(PROMPTS))
    requests = [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]
    preempted = 0
    while engine.has_work:
        engine.step()
        engine.cache.check()
    preempted = sum(request.sequence.num_preemptions for request in requests)
    _same([request.output_ids for request in requests], expected)
    if not all(group.cache.window for group in engine.cache.layout.groups):
        assert preempted > 0, "the pool was meant to be too small for all of them"


def test_cancelled_neighbours_leave_no_trace(witnessed: tuple[LoadedModel, list[list[int]]]) -> None:
    model, expected = witnessed
    engine = make_engine(model, LONGEST, step_tokens=8, windows=len(PROMPTS))
    requests = [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]
    for step in range(200):
        if not engine.has_work:
            break
        if step == 3:
            engine.cancel(requests[1].request_id)
        if step == 7:
            engine.cancel(requests[2].request_id)
        engine.step()
        engine.cache.check()
    _same([requests[0].output_ids, requests[3].output_ids], [expected[0], expected[3]])
    assert engine.cache.held_bytes == 0


@pytest.mark.parametrize("draft_tokens", [1, 4, 50])
def test_with_guesses(witnessed: tuple[LoadedModel, list[list[int]]], draft_tokens: int) -> None:
    """Prompt lookup: the same tokens in fewer steps, also together with others and in a pool that is too small."""
    model, expected = witnessed
    if model.spec.layout(cache_dtype("fp32")).state_bytes:
        with pytest.raises(BadInput, match="folds its tokens into states"):
            make_engine(model, LONGEST, draft_tokens=draft_tokens)
        return
    engine = make_engine(model, LONGEST, step_tokens=16, block_size=8, draft_tokens=draft_tokens)
    requests = [engine.add(prompt, greedy(OUTPUT)) for prompt in PROMPTS]
    while engine.has_work:
        engine.step()
        engine.cache.check()
    _same([request.output_ids for request in requests], expected)
    assert all(len(request.output_ids) == OUTPUT for request in requests)
