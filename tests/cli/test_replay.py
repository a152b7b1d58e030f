"""`windowtax replay` at the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput
from windowtax.cli.replay import replay

ROWS = [
    {
        "timestamp": 500 * i,
        "input_length": 2000 + 512 * (i % 5),
        "output_length": 20 + i,
        "hash_ids": [0, *range(10 * (i % 7) + 1, 10 * (i % 7) + 4 + i % 5)],
    }
    for i in range(40)
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return path


def run(*words: str) -> str:
    app = typer.Typer()
    app.command()(replay)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False, env={"NO_COLOR": "1"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_report_shows_hits_waits_machines_and_dollars(trace: Path) -> None:
    text = run(str(trace), "--host-cache", "64GiB")
    for words in (
        "40 requests",
        "TTFT",
        "TPOT",
        "preemptions",
        "a month",
        "endless",
        "host",
        "p99",
        "in time",
        "$2,154",
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 110


def test_json_agrees_with_the_trace(trace: Path) -> None:
    made = json.loads(
        run(str(trace), "--json", "--replicas", "1", "--tensor-parallel", "2", "--cache-sizes", "8GiB,16GiB")
    )
    assert made["trace"]["num_requests"] == 40 and made["replica"]["accelerators"] == 2
    assert made["replay"]["prompt_tokens"] == sum(row["input_length"] for row in ROWS)
    assert made["replay"]["output_tokens"] == sum(row["output_length"] for row in ROWS)
    assert [size["bytes"] for size in made["hits"]["sizes"]] == [8 * 2**30, 16 * 2**30]
    assert made["cost"]["usd_per_month"] == pytest.approx(2 * 2.95 * 730)


def test_percentiles_are_shown_beside_what_was_asked(trace: Path) -> None:
    text = run(str(trace), "--slo-ttft", "p50:1s,p99:9s", "--slo-tpot", "p90:60ms", "--replicas", "1")
    for words in ("TTFT p50 1.00 s", "TTFT p99 9.00 s", "TPOT p90 60.00 ms"):
        assert words in text
    made = json.loads(run(str(trace), "--slo-ttft", "p50:1s,p99:9s", "--json", "--replicas", "1"))
    assert made["slo"]["objectives"] == [
        {"ttft_s": None, "tpot_s": 0.1, "percent": 90.0},
        {"ttft_s": 1.0, "tpot_s": None, "percent": 50.0},
        {"ttft_s": 9.0, "tpot_s": None, "percent": 99.0},
    ]
    assert len(made["replay"]["in_time"]) == 3


def test_hits_only_has_no_clock(trace: Path) -> None:
    assert "TTFT" not in run(str(trace), "--hits-only")


def test_bad_words_are_answered(trace: Path) -> None:
    for words in (
        ["--slo-ttft", "soon"],
        ["--slo-tpot", "p99"],
        ["--replicas", "0"],
        ["--slo-percent", "0"],
        ["--block-tokens", "0"],
    ):
        with pytest.raises(BadInput):
            run(str(trace), *words)


def test_a_replay_needs_no_torch(trace: Path) -> None:
    code = (
        "import sys, typer; from windowtax.cli.replay import replay; app = typer.Typer(); app.command()(replay)\n"
        f"sys.argv = ['replay', {str(trace)!r}]\n"
        "try: app()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
