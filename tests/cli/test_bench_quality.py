"""`windowtax bench quality` on the smallest real model: what it prints, its JSON, and refusals."""

import json

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import WindowtaxError
from windowtax.cli.bench_quality import quality

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("ask")]

MODEL = ("-m", "smollm2-135m")
SMALL = (*MODEL, "--window", "300", "--greedy-tokens", "6")


def run(*words: str) -> str:
    app = typer.Typer()
    app.command()(quality)
    return CliRunner().invoke(app, list(words), catch_exceptions=False, standalone_mode=False).stdout


def test_dtypes_lose_in_their_order() -> None:
    record = json.loads(run(*SMALL, *(f"--cache-dtype={name}" for name in ("bf16", "int8", "k4v4")), "--json"))
    first, eight, four = record["measured"]
    assert (record["window_tokens"], record["prompt_tokens"]) == (300, 300)
    assert [one["cache_dtype"] for one in record["measured"]] == ["bf16", "int8", "k4v4"]
    assert 0 == first["divergence_nats"] < eight["divergence_nats"] < four["divergence_nats"] < 0.1
    assert four["perplexity"] == pytest.approx(first["perplexity"], rel=0.1)
    assert first["cache_bytes_per_token"] == 23_040


def test_weights_are_held_against_the_first() -> None:
    words = (*SMALL, "--cache-dtype", "bf16", "--weights", "full", "--weights", "stored", "--json")
    full, stored = json.loads(run(*words))["measured"]
    assert (full["weights"], stored["weights"], stored["cache_dtype"]) == ("full", "stored", "bf16")
    assert stored["weight_bytes"] <= full["weight_bytes"]
    assert 0 == full["divergence_nats"] <= stored["divergence_nats"] < 0.01


def test_the_table_says_against_what_and_on_which_text() -> None:
    shown = run(*SMALL, "--windows", "2", "--cache-dtype", "k8v4")
    assert "9,360" in shown
    assert "2 x 300 tokens of builtin:python-reference" in shown
    assert "weights full and cache k8v4" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((*MODEL, "--window", "1M"), "the text has"),
        ((*SMALL, "--cache-dtype", "int4"), "does not store a cache of int4"),
        ((*MODEL, "--window", "1"), "at least 2 tokens"),
    ],
)
def test_bad_input_is_answered(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(WindowtaxError) as error:
        run(*words)
    assert says in f"{error.value.message} {error.value.hint}"
