"""`windowtax xray` from words to text and JSON."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli.xray import xray

app = typer.Typer()
app.command()(xray)


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_price_list_in_words():
    text = run("google/gemini-2.5-pro")
    for part in (
        "above 200,000 prompt tokens: input x2",
        "H1 decode KV kink",
        "H5 product window",
        "1,667 B",
        "to 572 times too low",
    ):
        assert part in " ".join(text.split())
    assert "likelihood" in text and "against" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_price_list_as_json():
    found = json.loads(run("alibaba/qwen3-coder-480b-a35b-instruct", "--active", "35B", "--total", "480e9", "--json"))
    assert found["known"] == {"active_parameters": 35e9, "total_parameters": 480e9}
    assert [tier["threshold_tokens"] for tier in found["tiers"]] == [32_000, 128_000]
    names = [entry["name"] for entry in found["tiers"][0]["hypotheses"]]
    assert names == ["H1", "H2", "H3", "H4", "H5"]
    second = found["tiers"][0]["hypotheses"][1]
    # 62 layers of 2 x 8 x 128 numbers in bf16; this list alone does not say that it is served in FP8.
    assert second["cache_bytes_per_token"]["p05"] < 253_952 < second["cache_bytes_per_token"]["p95"]
    assert found["priors"]["kink_share"]["basis"] == "assumed"


def test_a_tier_can_be_chosen_and_a_wrong_one_names_the_right_ones():
    assert "step at 128,000 tokens" in run("alibaba/qwen3-coder-480b-a35b-instruct", "--tier", "128000")
    with pytest.raises(BadInput, match="32,000, 128,000"):
        run("alibaba/qwen3-coder-480b-a35b-instruct", "--tier", "128K")


def test_a_list_of_another_day():
    # The tier of Claude Opus 4.6 went away on 2026-03-13 (facts/prices-and-recall.md 1a).
    assert "step at 200,000 tokens" in run("anthropic/claude-opus-4-6", "--at", "2026-03-12")
    assert "No tier" in run("anthropic/claude-opus-4-6", "--at", "2026-03-13")


def test_a_list_without_a_tier_still_has_bounds():
    text = run("anthropic/claude-opus-5")
    assert "No tier" in text and "upper bounds" in text and "H1 decode" not in text


def test_the_back_test_in_words_and_json():
    text = run("--backtest")
    assert "17 to 572 times too low" in text and "MiniMax-M3" in text and "llama-3.1-8b" in text
    found = json.loads(run("--backtest", "--json"))
    assert found["kink_formula_too_low_by"] == pytest.approx([17.1, 572], rel=0.01)
    assert found["scores"]["H1"]["likelihood"] is None and len(found["latency"]) == 3


def test_a_latency_curve(tmp_path: Path):
    path = tmp_path / "points.csv"
    rows = "\n".join(f"{tokens},{6.44 + 4.37e-5 * tokens}" for tokens in (256, 8_192, 32_768, 65_536, 125_000))
    path.write_text(f"context_tokens,itl_ms\n{rows}\n")
    found = json.loads(run("--latency", str(path), "--hardware", "h100-sxm", "--json"))
    assert found["cache_bytes_per_token"]["p50"] == pytest.approx(131_072, rel=0.25)
    assert found["line"]["basis"] == "measured" and len(found["points"]) == 5
    text = run("--latency", str(path))
    assert "llama-3.1-8b bf16 131,072 B" in " ".join(text.split())


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("google/gemini-2.5-pro", "--backtest"),
        ("gemini",),
        ("google/gemini-2.5-pro", "--active", "many"),
        ("google/gemini-2.5-pro", "--at", "yesterday"),
    ],
)
def test_senseless_words_are_refused(words):
    with pytest.raises(BadInput):
        run(*words)


def test_unknown_hardware_is_refused_before_a_server_is_asked():
    with pytest.raises(UnknownName, match="h1000"):
        run("--endpoint", "http://127.0.0.1:9", "--hardware", "h1000")
