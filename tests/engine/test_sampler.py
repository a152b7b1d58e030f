"""Sampling: the filtered distribution against transformers' processors, the draws against the distribution."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.engine.candidates import candidates, largest_ids
from windowtax.engine.sampler import Sampler, SamplingState
from windowtax.engine.sampling import SamplingParams


def state(tokens: list[int] | None = None, **settings: Any) -> SamplingState:
    return SamplingState(SamplingParams(max_tokens=1, **settings), tokens if tokens is not None else [])


def of_transformers(row: Tensor, params: SamplingParams, tokens: list[int]) -> Tensor:
    """[V] probabilities, by the classes that `generate` chains, in its order, in double precision."""
    from transformers.generation import logits_process as hf

    chain: list[Any] = []
    if params.repetition_penalty != 1:
        chain.append(hf.RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    chain.append(hf.TemperatureLogitsWarper(float(params.temperature)))
    if params.top_k:
        chain.append(hf.TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        chain.append(hf.TopPLogitsWarper(params.top_p))
    if params.min_p > 0:
        chain.append(hf.MinPLogitsWarper(params.min_p))
    scores = row.double()[None]
    for step in chain:
        scores = step(torch.tensor([tokens], dtype=torch.long), scores)
    return scores.softmax(-1)[0]


def spread(row: Tensor, params: SamplingParams) -> Tensor:
    """[V] probabilities, by `candidates`."""
    kept, weights = candidates(row.numpy(), params)
    ids = np.arange(len(row)) if kept is None else kept
    assert weights.max() == 1
    assert (ids[:-1] < ids[1:]).all()
    found = np.zeros(len(row))
    found[ids] = weights / weights.sum(dtype=np.float64)
    return torch.from_numpy(found)


def exactness(params: SamplingParams) -> float:
    """Relative: weights are float32 where all tokens are looked at."""
    return 1e-9 if params.top_k or (params.min_p and params.top_p == 1) else 2e-5


CHAINS = [
    {"temperature": 1.0},
    {"temperature": 0.3},
    {"temperature": 3.0, "top_k": 5},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 2.5, "top_p": 0.999},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.5, "min_p": 0.1},
    {"temperature": 1.3, "top_p": 0.8, "min_p": 0.02},
    {"temperature": 1.0, "top_k": 100_000},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_p": 1e-9},
    {"temperature": 1.0, "min_p": 1.0},
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
@pytest.mark.parametrize(("vocab_size", "scale"), [(7, 2.0), (1000, 1.0), (5000, 6.0), (9000, 0.5)])
def test_the_distribution_is_transformers(chain: dict[str, Any], vocab_size: int, scale: float) -> None:
    params = SamplingParams(max_tokens=1, **chain)
    for seed in range(5):
        row = scale * torch.randn(vocab_size, generator=torch.Generator().manual_seed(seed))
        expected = of_transformers(row, params, [])
        found = spread(row, params)
        # Where all tokens stay, their weights are float32, which ends near 1e-38.
        least = 1e-37 if exactness(params) == 2e-5 and params.top_p == 1 else 0
        assert torch.equal(found > least, expected > least)
        torch.testing.assert_close(found, expected, rtol=exactness(params), atol=1e-12)


@given(st.data())
@settings(max_examples=60)
def test_any_settings_agree_with_transformers(data: st.DataObject) -> None:
    row = torch.randn(300, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))) * 3
    params = SamplingParams(
        max_tokens=1,
        temperature=data.draw(st.sampled_from([0.2, 0.9, 1.0, 4.0])),
        top_k=data.draw(st.integers(0, 320)),
        top_p=data.draw(st.sampled_from([1.0, 0.123, 0.777, 0.99])),
        min_p=data.draw(st.sampled_from([0.0, 0.0123, 0.4321])),
    )
    expected = of_transformers(row, params, [])
    torch.testing.assert_close(spread(row, params), expected, rtol=exactness(params), atol=1e-12)


def test_top_k_keeps_ties_at_its_edge_as_transformers_does() -> None:
    row = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0, 0.0])
    params = SamplingParams(max_tokens=1, temperature=1.0, top_k=3)
    torch.testing.assert_close(spread(row, params), of_transformers(row, params, []))
    assert ids_of(row, params) == [0, 1, 2, 3, 4]


def ids_of(row: Tensor, params: SamplingParams) -> list[int]:
    ids, _ = candidates(row.numpy(), params)
    assert ids is not None
    return ids.tolist()


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 30.0])
@pytest.mark.parametrize("count", [1, 7, 300, 4999, 5000, 9000])
def test_the_largest_are_those_that_sorting_finds(scale: float, count: int) -> None:
    row = scale * torch.randn(5000, generator=torch.Generator().manual_seed(count))
    edge = row.sort(descending=True).values[min(count, 5000) - 1]
    assert largest_ids(row.numpy(), count).tolist() == (row >= edge).nonzero().flatten().tolist()


def test_equals_come_by_their_ids() -> None:
    row = torch.zeros(5000)
    most = SamplingParams(max_tokens=1, temperature=1.0, top_p=0.9999)
    assert ids_of(row, most) == list(range(5000))
    half = SamplingParams(max_tokens=1, temperature=1.0, top_p=0.5)
    assert ids_of(row[:4], half) == [0, 1]
    assert int((of_transformers(row[:4], half, []) > 0).sum()) == 2


@pytest.mark.parametrize("penalty", [1.3, 0.5])
@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_the_repetition_penalty_is_transformers(penalty: float, shift: float) -> None:
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    generator = torch.Generator().manual_seed(0)
    tokens = [3, 3, 17, 40]
    request = state(tokens, repetition_penalty=penalty)
    for _ in range(20):
        logits = torch.randn(1, 50, generator=generator) + shift
        kept = logits.clone()
        expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([tokens]), logits.clone())
        found = Sampler().sample(logits.numpy(), [request])
        assert found == expected.argmax(-1).tolist()
        assert torch.equal(logits, kept)
        tokens += found


def test_greedy_takes_the_lowest_id_of_equals() -> None:
    logits = torch.zeros(3, 1000)
    logits[1, [900, 7, 8]] = 5.0
    logits[2] = -math.inf
    logits[2, 999] = -1e30
    assert Sampler().sample(logits.numpy(), [state(), state(), state()]) == [0, 7, 999]


def test_rows_keep_their_own_settings() -> None:
    logits = torch.tensor([[0.0, 4.0, 3.9], [0.0, 4.0, 3.9], [0.0, 4.0, 3.9], [0.0, 4.0, 3.9]])
    requests = [
        state(),
        state([1], repetition_penalty=2.0),
        state(temperature=1.0, top_k=1),
        state([1], temperature=1.0, top_k=1, repetition_penalty=2.0),
    ]
    assert Sampler().sample(logits.numpy(), requests) == [1, 2, 1, 2]


def draws(request: SamplingState, row: Tensor, count: int, others: list[SamplingState]) -> list[int]:
    logits = torch.stack([*(torch.randn_like(row) for _ in others), row])
    return [Sampler().sample(logits.numpy(), [*others, request])[-1] for _ in range(count)]


def test_a_seed_gives_the_same_tokens_whatever_the_batch() -> None:
    row = torch.randn(500, generator=torch.Generator().manual_seed(1))
    alone = draws(state(temperature=1.0, seed=5), row, 50, [])
    crowd = [state(temperature=0.5), state(), state([1, 2], temperature=2.0, seed=5, repetition_penalty=1.2)]
    assert draws(state(temperature=1.0, seed=5), row, 50, crowd) == alone
    assert draws(state(temperature=1.0, seed=6), row, 50, []) != alone
    assert len(set(alone)) > 20


def test_without_a_seed_answers_differ() -> None:
    row = torch.zeros(10_000)
    assert draws(state(temperature=1.0), row, 5, []) != draws(state(temperature=1.0), row, 5, [])


@pytest.mark.parametrize("chain", [{"temperature": 1.0}, {"temperature": 1.5, "top_k": 6, "min_p": 0.05}], ids=str)
def test_frequencies_follow_the_distribution(chain: dict[str, Any]) -> None:
    row = torch.randn(12, generator=torch.Generator().manual_seed(3))
    request = state(seed=11, **chain)
    count = 20_000
    batch = row.expand(1, -1)
    counts = torch.zeros(12, dtype=torch.float64)
    for _ in range(count):
        counts[Sampler().sample(batch.numpy(), [request])[0]] += 1
    expected = of_transformers(row, request.params, []) * count
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    freedom = int(possible.sum()) - 1
    # The seed is fixed, so this cannot flake. Five standard deviations of chi-square bound it loosely.
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 1e6])
def test_extreme_temperatures(temperature: float) -> None:
    row = torch.tensor([1.0, 3.0, 3.0 - 1e-3, -math.inf])
    params = SamplingParams(max_tokens=1, temperature=temperature, top_p=0.9999)
    probabilities = spread(row, params)
    assert bool(torch.isfinite(probabilities).all())
    assert int(probabilities.argmax()) == 1
    assert probabilities[1] == 1 if temperature < 1 else probabilities[1] < 0.34
    assert Sampler().sample(row[None].numpy(), [state(temperature=temperature)])[0] != 3


def test_logits_that_are_not_numbers_are_an_error() -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = math.nan
    with pytest.raises(WindowtaxError, match="NaN"):
        Sampler().sample(logits.numpy(), [state(), state(temperature=1.0)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": None},
        {"max_tokens": True},
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "hot"},
        {"top_k": -1},
        {"top_k": 2.5},
        {"top_p": 0},
        {"top_p": 1.01},
        {"min_p": -0.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"seed": 2**63},
        {"seed": "a"},
        {"stop": "abc"},
        {"stop": ("",)},
        {"stop": (3,)},
        {"stop_token_ids": (-1,)},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(BadInput, match=f"{name} is") as caught:
        SamplingParams(**({"max_tokens": 1} | wrong))
    assert caught.value.hint.startswith("Give ")


def test_sampling_settings_need_no_torch() -> None:
    code = (
        "import sys, windowtax.engine.sampling as s; s.SamplingParams(max_tokens=1); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
