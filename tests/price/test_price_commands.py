"""The commands `windowtax price ...`: what they print agrees with the functions behind them."""

import json

import pytest
from typer.testing import CliRunner

from windowtax.base.errors import BadInput
from windowtax.cli.price import app

DAY = ["--at", "2026-11-20T12:00"]


def run(*words: str) -> str:
    result = CliRunner().invoke(app, [*words, *DAY], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def read(*words: str) -> dict:
    result = CliRunner().invoke(app, [*words, *DAY, "--json"], catch_exceptions=False)
    return json.loads(result.output)


def test_bill_guards_the_cliff():
    found = read("bill", "openai/gpt-5.5", "--prompt", "273000")
    assert found["total_usd"] == 2.73
    assert (found["guard"]["trim_tokens"], found["guard"]["saving_usd"]) == (1_000, 1.37)
    assert found["cross_check"]["verdict"] == "agrees"
    assert "trimming 1,000 prompt tokens saves $1.3700" in run("bill", "openai/gpt-5.5", "--prompt", "273000")


def test_bill_of_writes_and_batches():
    words = ["bill", "anthropic/claude-opus-5", "--prompt", "1000000", "--write-1h", "500000", "--cached", "500000"]
    assert read(*words)["total_usd"] == 5.25
    assert read(*words, "--batch")["total_usd"] == 2.625


def test_compare_is_cheapest_first():
    shown = run("compare", "openai/gpt-5.4-pro", "openai/gpt-5.5", "--prompt", "256000")
    assert shown.index("openai/gpt-5.5 5 30 $1.2800 1.0") < shown.index("openai/gpt-5.4-pro 30 180 $7.6800 6.0")
    pairs = read("compare", "openai/gpt-5.5", "--prompt", "256000", "--cached", "200000")["bills"]
    assert pairs[0]["cold"]["total_usd"] == 1.28 and pairs[0]["cached"]["total_usd"] == pytest.approx(0.38)


def test_show_tells_the_history():
    shown = run("show", "anthropic/claude-opus-4-6")
    assert "before above 200,000 10 37.5 1 12.5 20 2026-03-13 any 5 25" in shown
    assert "01:00-04:00 any 1.32 3.96" in run("show", "deepseek/deepseek-v4-pro")


def test_cache_explains_the_articles():
    shown = run("cache", "anthropic/claude-opus-5", "--mean-gap", "3m", "--calls", "6")
    for text in ("0.278", "21.7%", "52.6%", "1.389", "2.222", "1.4 reads per write", "67 %", "more than 4.5 calls"):
        assert text in shown
    assert read("cache", "--write", "1.25", "--read", "0.1")["tiers"][0]["reads_per_write"] == pytest.approx(0.25 / 0.9)


def test_cache_takes_observed_gaps(tmp_path):
    path = tmp_path / "gaps.txt"
    path.write_text("10\n20\n4000\n30\n")
    ways = read("cache", "anthropic/claude-opus-5", "--gaps", str(path))["choices"]
    assert {way["name"]: way["hit_rate"] for way in ways} == {"no cache": 0.0, "5 min": 0.75, "1 h": 0.75}


@pytest.mark.parametrize(
    "words",
    [
        ["cache"],
        ["cache", "anthropic/claude-opus-5", "--write", "2"],
        ["cache", "anthropic/claude-opus-5", "--mean-gap", "3m", "--every", "3m"],
        ["cache", "anthropic/claude-opus-5", "--mean-gap", "soon"],
        ["cache", "anthropic/claude-opus-5", "--calls", "0"],
        ["bill", "gpt-5.5"],
        ["tiers", "llama-3.1-8b", "--usd-per-gb-hour", "tape=1"],
    ],
)
def test_what_makes_no_sense_is_refused(words):
    with pytest.raises(BadInput):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_moment_must_be_one():
    with pytest.raises(BadInput, match="not a moment"):
        CliRunner().invoke(app, ["bill", "openai/gpt-5.5", "--at", "yesterday"], catch_exceptions=False)


def test_tiers_ask_the_layout_and_the_plan():
    found = read("tiers", "llama-3.1-8b", "--context", "32K", "--list", "google/gemini-2.5-pro")
    assert found["tiers"][0]["bytes"] == 32_768 * 131_072
    by_name = {row["tier"]["name"]: row for row in found["tiers"]}
    assert by_name["dram"]["usd_per_mtok_hour"] == pytest.approx(131_072 / 1e9 * 0.0022 * 1e6)
    assert by_name["ssd"]["keep_hours"] > by_name["dram"]["keep_hours"] > by_name["hbm"]["keep_hours"] > 0
    assert found["published"][0]["usd_per_mtok_hour"] == 4.5
    own = read("tiers", "llama-3.1-8b", "--context", "32K", "--usd-per-gb-hour", "ssd=0.00022")["tiers"]
    rents = {row["tier"]["name"]: row["usd_per_mtok_hour"] for row in own}
    assert rents["ssd"] == pytest.approx(rents["dram"] / 10)
    assert "4,294,967,296 B (4.00 GiB)" in run("tiers", "llama-3.1-8b", "--context", "32K")


def test_retrieval_recomputes_the_articles():
    found = read("retrieval", "anthropic/claude-opus-5", "--retrieved", "12000")
    bills = {bill["name"]: bill for bill in found["bills"]}
    assert bills["long context, no cache"]["session_usd"] == 20.0
    assert bills["long context, 5 min cache"]["session_usd"] == 3.15
    assert bills["long context, 1 h cache"]["session_usd"] == 3.9
    assert bills["retrieval"]["session_usd"] == 1.2
    assert bills["long context, no cache"]["month_usd"] == 600_000
    assert any("201,000" in note for note in found["notes"])


def test_retrieval_sets_own_hardware_on_the_same_axis():
    words = ["retrieval", "anthropic/claude-opus-5", "--long", "32000", "--output", "256", "--own", "llama-3.1-8b"]
    sides = read(*words)["own"]
    assert [side["name"] for side in sides] == ["long context", "retrieval"]
    for side in sides:
        crossing = side["crossing"]
        for point in side["axis"]:
            if point["calls"] < crossing["first_calls"]:
                assert point["own_usd"] > point["api_usd"]
            if point["calls"] > crossing["always_calls"]:
                assert point["own_usd"] < point["api_usd"]
    assert "owning wins first at" in run(*words)
