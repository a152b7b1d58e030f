"""The quality tool: sums against transformers, order of what is lost, and what it says about bad input."""

import math
from pathlib import Path

import pytest
import torch

from tests.cases.families import save_tiny
from windowtax.base.errors import BadInput
from windowtax.engine.load import open_files
from windowtax.engine.quality import Choice, Quality, measure_quality

WINDOWS = [[(5 * i * i + 11 * i * n) % 150 + 3 for i in range(n)] for n in (700, 90)]
DTYPES = ["fp32", "bf16", "int8", "fp8", "k8v4", "k4v4"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    folder = tmp_path_factory.mktemp("model")
    return folder, save_tiny("llama", folder)


@pytest.fixture(scope="module")
def found(saved) -> dict[str, Quality]:
    told: list[tuple[str, int]] = []
    measured = measure_quality(
        open_files(saved[0], dtype="fp32"),
        WINDOWS,
        [Choice("full", name) for name in DTYPES],
        prompt_tokens=20,
        greedy_tokens=10,
        progress=lambda what, done: told.append((what, done)),
    )
    predicted = [done for what, done in told if what == "perplexity"]
    assert predicted[-1] == sum(map(len, WINDOWS)) - len(WINDOWS), "every token but the first of a window was predicted"
    assert told[-1] == ("the greedy answer by all", 20 + 10 - 1)
    return {one.cache_dtype: one for one in measured}


def test_perplexity_is_that_of_transformers(saved, found: dict[str, Quality]) -> None:
    loss, count = 0.0, 0
    for window in WINDOWS:
        ids = torch.tensor([window])
        with torch.no_grad():
            scores = saved[1](ids).logits[0, :-1].double().log_softmax(-1)
        loss -= float(scores.gather(1, ids[0, 1:, None]).sum())
        count += len(window) - 1
    assert found["fp32"].perplexity == pytest.approx(math.exp(loss / count), rel=1e-4)


def test_the_first_dtype_loses_nothing_against_itself(found: dict[str, Quality]) -> None:
    first = found["fp32"]
    assert (first.divergence_nats, first.same_choice, first.same_greedy_tokens) == (0.0, 1.0, 10)


def test_fewer_bits_lose_more(found: dict[str, Quality]) -> None:
    lost = [found[name].divergence_nats for name in ("bf16", "int8", "k8v4", "k4v4")]
    assert lost == sorted(lost) and lost[0] > 0
    size = [found[name].cache_bytes_per_token for name in ("fp32", "bf16", "int8", "k8v4", "k4v4")]
    assert size == sorted(size, reverse=True)
    assert all(0 < one.same_choice <= 1 and 0 <= one.same_greedy_tokens <= 10 for one in found.values())


@pytest.mark.parametrize(("windows", "prompt"), [([[1]], 1), ([[1, 2]], 0), ([[1, 2]], 3)])
def test_windows_that_hold_nothing_are_an_error(saved, windows: list[list[int]], prompt: int) -> None:
    with pytest.raises(BadInput):
        measure_quality(
            open_files(saved[0], dtype="fp32"),
            windows,
            [Choice("full", "fp32")],
            prompt_tokens=prompt,
            greedy_tokens=1,
            progress=lambda *_: None,
        )
