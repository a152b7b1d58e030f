"""Requests with settings of their own, run by the engine on tiny models: logprobs, ends, seeds, among each other."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cases.families import save_tiny
from tests.engine.harness import make_engine, say
from tests.engine.spelling import END_ID, TEXTS, ascii_tokenizer
from tests.native.harness import BLOCK_SIZE, load_native, native
from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, load_model
from windowtax.engine.logprobs import token_logprobs
from windowtax.engine.request import FinishReason, Request
from windowtax.engine.sampling import SamplingParams
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype

PROMPT = [5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45]


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, LoadedModel]:
    folder = tmp_path_factory.mktemp("tiny")
    model = save_tiny("llama", folder)
    return model, replace(load_model(folder, dtype="fp32"), tokenizer=ascii_tokenizer())


def params(**settings: Any) -> SamplingParams:
    return SamplingParams(**({"max_tokens": 12, "ignore_eos": True} | settings))


def finish(engine: Engine, *requests: Request) -> None:
    while any(request.finish_reason is None for request in requests):
        engine.step()


def log_softmax(model: torch.nn.Module, token_ids: list[int]) -> torch.Tensor:
    """[T, V], by transformers and torch."""
    with torch.inference_mode():
        return model(torch.tensor([token_ids])).logits[0].double().log_softmax(-1)


def test_top_logprobs_are_those_of_log_softmax() -> None:
    logits = 3 * torch.randn(70, 500, generator=torch.Generator().manual_seed(2))
    ids = torch.randint(0, 500, (70,), generator=torch.Generator().manual_seed(3)).tolist()
    scores = logits.double().log_softmax(-1)
    for row, token, found in zip(scores, ids, token_logprobs(logits.numpy(), ids, 7), strict=True):
        values, places = row.topk(7)
        assert found.token_id == token and [place for place, _ in found.top] == places.tolist()
        torch.testing.assert_close([value for _, value in found.top], values.tolist(), rtol=0, atol=2e-6)
        assert abs(found.logprob - float(row[token])) < 2e-6


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 4}, {"frequency_penalty": 2.0, "logit_bias": {9: 30}}], ids=str
)
@pytest.mark.parametrize("drafts", [0, 4])
def test_logprobs_are_the_model_s_own(
    witness: tuple[torch.nn.Module, LoadedModel], settings: dict[str, Any], drafts: int
) -> None:
    model, loaded = witness
    engine = make_engine(loaded, 64, windows=2, draft_tokens=drafts)
    request = engine.add(PROMPT * 2, params(logprobs=3, **settings))
    plain = engine.add(PROMPT * 2, params(**settings))
    finish(engine, request, plain)
    assert request.output_ids == plain.output_ids and not plain.logprobs and not request.prompt_logprobs
    scores = log_softmax(model, [*PROMPT * 2, *request.output_ids])[len(PROMPT) * 2 - 1 :]
    assert [found.token_id for found in request.logprobs] == request.output_ids
    for found, row in zip(request.logprobs, scores, strict=False):
        assert abs(found.logprob - float(row[found.token_id])) < 1e-4
        torch.testing.assert_close([value for _, value in found.top], row.topk(3).values.tolist(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("step_tokens", [4, 7, 64])
@pytest.mark.parametrize("length", [1, 2, 11, 40])
def test_a_prompt_s_logprobs_whatever_its_chunks(
    witness: tuple[torch.nn.Module, LoadedModel], step_tokens: int, length: int
) -> None:
    model, loaded = witness
    prompt = (PROMPT * 4)[:length]
    engine = make_engine(loaded, 80, step_tokens=step_tokens, windows=3, draft_tokens=3)
    others = [engine.add(PROMPT, params())]
    request = engine.add(prompt, params(prompt_logprobs=2))
    others.append(engine.add(prompt, params()))
    finish(engine, request, *others)
    assert request.output_ids == others[1].output_ids
    first, *rest = request.prompt_logprobs
    assert first is None and len(rest) == length - 1
    scores = log_softmax(model, prompt)
    for position, found in enumerate(rest):
        assert found is not None and found.token_id == prompt[position + 1]
        assert abs(found.logprob - float(scores[position, found.token_id])) < 1e-4
        assert len(found.top) == 2
        assert found.rank == 1 + int((scores[position] > scores[position, found.token_id]).sum())


@native
def test_native_kernels_give_a_prompt_s_logprobs_too(
    witness: tuple[torch.nn.Module, LoadedModel], tmp_path: Path
) -> None:
    witness[0].save_pretrained(tmp_path)
    engine = make_engine(load_native(tmp_path), 80, step_tokens=7, windows=2, block_size=BLOCK_SIZE)
    request = engine.add(PROMPT * 3, params(prompt_logprobs=0))
    other = engine.add(PROMPT, params(logprobs=0))
    finish(engine, request, other)
    scores = log_softmax(witness[0], PROMPT * 3)
    for position, found in enumerate(request.prompt_logprobs[1:]):
        assert found is not None and abs(found.logprob - float(scores[position, found.token_id])) < 1e-3
    assert [found.top for found in other.logprobs] == [()] * 12


def test_a_prompt_s_logprobs_after_a_preemption(witness: tuple[torch.nn.Module, LoadedModel]) -> None:
    """The pool is too small for both, so the newer one is computed again from its start."""
    _, loaded = witness
    alone = make_engine(loaded, 64)
    expected = alone.add(PROMPT * 3, params(prompt_logprobs=0))
    finish(alone, expected)
    engine = make_engine(loaded, 64, step_tokens=12)
    other = engine.add(PROMPT, params(max_tokens=40))
    engine.step()
    request = engine.add(PROMPT * 3, params(prompt_logprobs=0))
    finish(engine, request, other)
    assert request.sequence.num_preemptions > 0
    assert [one and one.token_id for one in request.prompt_logprobs] == [None, *(PROMPT * 3)[1:]]
    for found, wanted in zip(request.prompt_logprobs[1:], expected.prompt_logprobs[1:], strict=True):
        assert found is not None and wanted is not None and abs(found.logprob - wanted.logprob) < 1e-4


def test_a_prompt_s_logits_are_never_many_at_once(
    witness: tuple[torch.nn.Module, LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windowtax.schedule.scheduler.MOST_SCORED_TOKENS", 8)
    _, loaded = witness
    engine = make_engine(loaded, 80, step_tokens=64)
    request = engine.add((PROMPT * 4)[:40], params(prompt_logprobs=0))
    rows: list[int] = []
    run = engine.runner.run

    def counted(step: Any) -> np.ndarray:
        logits = run(step)
        rows.append(len(logits))
        return logits

    monkeypatch.setattr(engine.runner, "run", counted)
    finish(engine, request)
    assert rows == [8] * 5 + [1] * 11 and len(request.prompt_logprobs) == 40


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0, "seed": 5},
    {"temperature": 0.7, "top_p": 0.9, "seed": 6},
    {"temperature": 1.5, "top_k": 20, "min_p": 0.01, "seed": 7, "presence_penalty": 1.0},
    {"repetition_penalty": 1.3},
    {"temperature": 1.0, "seed": -5, "logit_bias": {9: 2.0}, "min_tokens": 4, "ignore_eos": False},
]


def test_a_seed_gives_the_same_tokens_in_any_company(witness: tuple[torch.nn.Module, LoadedModel]) -> None:
    _, loaded = witness

    def run(settings: list[dict[str, Any]]) -> list[list[int]]:
        engine = make_engine(loaded, 64, step_tokens=24, windows=6)
        requests = [engine.add(PROMPT, params(**one)) for one in settings]
        finish(engine, *requests)
        return [request.output_ids for request in requests]

    alone = [run([one])[0] for one in SETTINGS]
    assert run(SETTINGS) == alone
    assert run(SETTINGS[::-1]) == alone[::-1]
    assert len({tuple(ids) for ids in alone}) == len(SETTINGS)


def forced(text: str) -> list[int]:
    """Ids that spell a text character by character."""
    return [TEXTS.index({" ": "Ġ", "\n": "Ċ"}.get(character, character)) for character in text]


@pytest.mark.parametrize(
    ("ids", "settings", "text", "num_tokens", "reason"),
    [
        (forced("say STOP now"), {"stop": ("STOP",)}, "say ", 8, FinishReason.STOP),
        ([*forced("x"), TEXTS.index("abc"), *forced("dddddddddd")], {"stop": ("bcd",)}, "xa", 3, FinishReason.STOP),
        (forced("aSTaSTbSTOP.")[:12], {"stop": ("STOP",), "max_tokens": 10}, "aSTaSTbSTO", 10, FinishReason.LENGTH),
        (forced("X..X..X....."), {"stop": ("X",), "min_tokens": 5}, "X..X..", 7, FinishReason.STOP),
        (forced("..XYZ......."), {"stop": ("XYZ",), "min_tokens": 4}, "..", 5, FinishReason.STOP),
        ([*forced("ab"), END_ID], {"ignore_eos": False, "stop": ("bc",)}, "ab", 3, FinishReason.STOP),
        (forced("abc"), {"stop_token_ids": (forced("b")[0],)}, "a", 2, FinishReason.STOP),
    ],
)
def test_where_answers_end(
    witness: tuple[torch.nn.Module, LoadedModel],
    ids: list[int],
    settings: dict[str, Any],
    text: str,
    num_tokens: int,
    reason: FinishReason,
) -> None:
    engine = make_engine(witness[1], 64)
    say(engine, ids)
    request = engine.add(PROMPT, params(**settings))
    shown = [event.text for event in engine.run(request)]
    assert (request.text, len(request.output_ids), request.finish_reason) == (text, num_tokens, reason)
    assert "".join(shown) == text


def test_an_impossible_token_is_told_before_it_is_queued(witness: tuple[torch.nn.Module, LoadedModel]) -> None:
    engine = make_engine(witness[1], 64)
    with pytest.raises(Exception, match="logit_bias names the token 160"):
        engine.add(PROMPT, params(logit_bias={160: 1.0}))
    assert not engine.has_work and math.isfinite(engine.cache.free_bytes)


def test_a_kept_prefix_does_not_hide_a_prompt_s_logprobs(witness: tuple[torch.nn.Module, LoadedModel]) -> None:
    model, loaded = witness
    layout = loaded.spec.layout(cache_dtype("fp32"), 4)
    cache = SharedCache(layout, [4 * count for count in layout.peak_blocks(64, 64)])
    engine = Engine(loaded, cache, SchedulerConfig(max_step_tokens=64), 64)
    first = engine.add(PROMPT * 3, params())
    finish(engine, first)
    scored, after = engine.add(PROMPT * 3, params(prompt_logprobs=0)), engine.add(PROMPT * 3, params())
    finish(engine, scored, after)
    assert (scored.num_cached_tokens, after.num_cached_tokens) == (0, 32)
    assert first.output_ids == scored.output_ids == after.output_ids
    scores = log_softmax(model, PROMPT * 3)
    for position, found in enumerate(scored.prompt_logprobs[1:]):
        assert found is not None and abs(found.logprob - float(scores[position, found.token_id])) < 1e-4
    cache.check()
