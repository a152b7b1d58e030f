"""Penalties, biases, forced and forbidden tokens: against their definitions, written out; and the draw itself."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from windowtax.base.errors import BadInput
from windowtax.engine.candidates import pick
from windowtax.engine.sampler import Sampler, SamplingState
from windowtax.engine.sampling import SamplingParams

VOCAB = 40


def state(tokens: list[int], ends: frozenset[int] = frozenset(), **settings: Any) -> SamplingState:
    return SamplingState(SamplingParams(max_tokens=99, **settings), tokens, ends)


def defined(row: list[float], prompt: list[int], answer: list[int], params: SamplingParams) -> list[float]:
    """Token by token, from OpenAI's and transformers' definitions."""
    found = list(row)
    counts = Counter(answer)
    for token in range(len(row)):
        if token in {*prompt, *answer}:
            found[token] *= params.repetition_penalty if found[token] < 0 else 1 / params.repetition_penalty
        found[token] -= counts[token] * params.frequency_penalty
        found[token] -= params.presence_penalty if counts[token] else 0
        found[token] += (params.logit_bias or {}).get(token, 0)
    return found


@given(st.data())
@settings(max_examples=60)
def test_edited_logits_are_the_definition(data: st.DataObject) -> None:
    tokens = st.integers(0, VOCAB - 1)
    prompt = data.draw(st.lists(tokens, max_size=8))
    penalties = st.sampled_from([0.0, 0.7, -1.5, 2.0])
    request = state(
        live := list(prompt),
        repetition_penalty=data.draw(st.sampled_from([1.0, 1.3, 0.8])),
        frequency_penalty=data.draw(penalties),
        presence_penalty=data.draw(penalties),
        logit_bias=data.draw(st.none() | st.dictionaries(tokens, st.floats(-100, 100), max_size=3)),
    )
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    for _ in range(6):
        row = generator.standard_normal(VOCAB).astype(np.float32)
        kept = row.copy()
        expected = defined(row.tolist(), prompt, live[len(prompt) :], request.params)
        np.testing.assert_allclose(request.edited(row), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(row, kept)
        live += data.draw(st.lists(tokens, min_size=1, max_size=2))


def test_penalties_count_the_answer_and_not_the_prompt() -> None:
    row = torch.tensor([[1.0, 0.9, 0.0]])
    live = [0, 0, 0]
    request = state(live, frequency_penalty=0.06, presence_penalty=0.01)
    answer: list[int] = []
    for _ in range(6):
        answer += Sampler().sample(row.numpy(), [request])
        live.append(answer[-1])
    # 1.0; then 1.0 - 0.07 against 0.9; then 1.0 - 0.13 against 0.9; then 0.87 against 0.83; and so on.
    assert answer == [0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 1.0, "top_p": 0.5, "seed": 3}]
)
def test_a_bias_of_100_forces_and_of_minus_100_bans(settings: dict[str, Any]) -> None:
    logits = 5 * torch.randn(30, VOCAB, generator=torch.Generator().manual_seed(0))
    forced = [Sampler().sample(row[None].numpy(), [state([], logit_bias={7: 100}, **settings)])[0] for row in logits]
    assert forced == [7] * 30
    likeliest = logits.argmax(-1).tolist()
    for row, token in zip(logits, likeliest, strict=True):
        request = state([], logit_bias={token: -100}, **settings)
        assert token not in [Sampler().sample(row[None].numpy(), [request])[0] for _ in range(20)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_end_token_before_min_tokens(temperature: float) -> None:
    row = torch.tensor([[9.0, 8.0, 1.0, 0.5]])
    live = [0]
    request = state(live, frozenset({0, 1, 99}), min_tokens=3, temperature=temperature, seed=1)
    answer: list[int] = []
    for _ in range(3):
        answer += Sampler().sample(row.numpy(), [request])
        live.append(answer[-1])
    assert not {0, 1} & set(answer)
    assert Sampler().sample(row.numpy(), [request])[0] in (0, 1)


def test_rows_of_all_sorts_beside_each_other() -> None:
    logits = torch.tensor([[0.0, 4.0, 3.9]]).repeat(5, 1)
    requests = [
        state([]),
        state([], logit_bias={1: -1}),
        state([1], repetition_penalty=2.0),
        state([], temperature=1.0, top_k=1, logit_bias={0: 50}),
        state([]),
    ]
    assert Sampler().sample(logits.numpy(), requests) == [1, 2, 2, 0, 1]


@given(st.integers(1, 2000), st.integers(0, 10**6), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=80)
def test_a_draw_is_where_the_running_sum_passes(count: int, seed: int, kind: type) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers, so that every order of summing gives the same.
    weights = generator.integers(0, 3, count).astype(kind)
    weights[generator.integers(count)] = 1
    total = int(weights.sum())
    for uniform in [0.0, *generator.random(5), 1 - 2**-53]:
        sums = np.cumsum(weights)
        expected = int(np.searchsorted(sums, uniform * total, side="right"))
        found = pick(weights, uniform)
        assert weights[found] > 0
        assert found == min(expected, int(np.flatnonzero(weights)[-1]))


def test_ids_that_the_model_lacks_are_refused() -> None:
    params = SamplingParams(max_tokens=1, logit_bias={7: 1.0, 40: -1.0})
    params.refuse_other_model(41)
    with pytest.raises(BadInput, match="token 40, but this model's ids end at 39"):
        params.refuse_other_model(40)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frequency_penalty": 2.1},
        {"presence_penalty": -2.1},
        {"presence_penalty": "a"},
        {"logit_bias": [1]},
        {"logit_bias": {"a": 1}},
        {"logit_bias": {-1: 1}},
        {"logit_bias": {1: 101}},
        {"logit_bias": {1: None}},
        {"min_tokens": -1},
        {"min_tokens": 2},
        {"logprobs": 21},
        {"logprobs": -1},
        {"logprobs": True},
        {"prompt_logprobs": True},
        {"grammar": "start: x"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(BadInput, match=f"^{name} is") as caught:
        SamplingParams(**({"max_tokens": 1} | wrong))
    assert caught.value.hint.startswith(("Give ", "Compile "))
