"""The commands plan, compare and sweep as a person types them."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli import plan as commands

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run():
    app = typer.Typer()
    for command in (commands.plan, commands.compare, commands.sweep):
        app.command()(command)

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_plan_shows_bytes_twice_and_the_basis_of_each_figure(run):
    text = run("plan", "llama-3.1-70b", "--context", "128K", "--hardware", "h100")
    for part in (
        "42,949,672,960 B",
        "40.00 GiB",
        "131,072 (128K)",
        "327,680 B",
        "datasheet",
        "assumed",
        "TTFT",
        "$11.80/h",
    ):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert "\x1b" not in text


def test_plan_json_and_csv_agree(run):
    words = ("plan", "llama-3.1-8b", "--context", "32K", "--users", "3", "--cache-dtype", "int8")
    data = json.loads(run(*words, "--json"))
    rows = list(csv.DictReader(io.StringIO(run(*words, "--csv"))))
    assert len(rows) == 1
    assert int(rows[0]["cache.total_bytes"]) == data["cache"]["total_bytes"] == 32_768 * 32 * 2 * 8 * (128 + 4)
    assert float(rows[0]["time.tpot_s"]) == data["time"]["tpot_s"]
    assert data["users"] == 3 and data["cache_dtype"] == "int8"


def test_a_config_file_will_do(run, tmp_path):
    source = ROOT / "src/windowtax/catalog/models/llama-3.1-8b.json"
    path = tmp_path / "my-model.json"
    path.write_bytes(source.read_bytes())
    data = json.loads(run("plan", str(path), "--json"))
    assert data["model"] == "my-model" and data["cache"]["total_bytes"] == 16 * 2**30


def test_a_rope_scaling_extends_the_window(run):
    words = ("plan", "qwen3-8b", "--context", "128K", "--json")
    assert any("arithmetic only" in line for line in json.loads(run(*words))["warnings"])
    extended = json.loads(run(*words, "--rope", "yarn:4"))
    assert extended["warnings"] == [] and extended["max_context_tokens"] >= 131_072


def test_prices_weights_and_gpus_are_taken(run):
    words = ("plan", "llama-3.1-70b", "--gpus", "8", "--weights", "fp8", "--usd-per-hour", "1", "--json")
    data = json.loads(run(*words))
    assert data["fit"]["accelerators"] == 8 and data["weights_dtype"] == "fp8"
    assert data["cost"]["usd_per_hour"] == 8
    assert data["hardware"]["usd_per_hour"]["basis"] == "assumed"


def test_explain_prints_formula_numbers_and_source(run):
    text = run("plan", "llama-3.1-70b", "--explain")
    assert "80 full layers x (k 8 x 128 x 16 bit + v 8 x 128 x 16 bit)" in text
    assert "aiconfigurator" in text and "max(" in text


def test_compare_puts_models_side_by_side(run):
    text = run("compare", "llama-3.1-8b", "mistral-7b-v0.1", "gemma-3-27b", "--context", "128K")
    assert "16.00 GiB" in text and "512.00 MiB" in text and "unbounded" in text
    data = json.loads(run("compare", "llama-3.1-8b", "mistral-7b-v0.1", "--json"))
    assert [one["model"] for one in data] == ["llama-3.1-8b", "mistral-7b-v0.1"]
    rows = list(csv.DictReader(io.StringIO(run("compare", "llama-3.1-8b", "mistral-7b-v0.1", "--csv"))))
    assert rows[1]["cache.total_bytes"] == str(2**29)


def test_sweep_prints_bars_and_draws(run, tmp_path):
    text = run("sweep", "llama-3.1-8b", "--context", "4K..128K", "--out", str(tmp_path / "s.svg"))
    assert text.count("█") > 10 and "131,072 (128K)" in text
    assert (tmp_path / "s.svg").read_text().startswith("<svg")
    data = json.loads(run("sweep", "llama-3.1-8b", "--context", "8K,64K", "--json"))
    assert [one["context_tokens"] for one in data] == [8192, 65_536]


def test_beyond_one_node_is_answered_honestly(run):
    text = " ".join(run("plan", "llama-3.1-405b").split())
    assert "does not fit on one node of 8: it takes 2 nodes" in text


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("plan", "llama-9"), UnknownName),
        (("plan", "llama-3.1-8b", "--hardware", "h900"), UnknownName),
        (("plan", "llama-3.1-8b", "--context", "many"), BadInput),
        (("plan", "llama-3.1-8b", "--gpus", "0"), BadInput),
        (("plan", "llama-3.1-8b", "--chunk", "0"), BadInput),
        (("plan", "llama-3.1-8b", "--cached-tokens", "128K"), BadInput),
        (("sweep", "llama-3.1-8b", "--context", "1M..4K"), BadInput),
    ],
)
def test_errors_are_ours(run, words, error):
    with pytest.raises(error):
        run(*words)


def test_a_plan_imports_no_torch_and_nothing_heavy():
    code = (
        "import sys, typer\nfrom windowtax.cli import plan\n"
        "app = typer.Typer()\napp.command()(plan.plan)\napp.command()(plan.compare)\n"
        "try:\n    app(['plan', 'llama-3.1-8b'])\nexcept SystemExit as end:\n    assert not end.code, end\n"
        "heavy = {'torch', 'numpy', 'altair', 'vl_convert', 'genai_prices'} & set(sys.modules)\n"
        "import time\nprint('CPU', time.process_time(), file=sys.stderr)\nassert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert found.returncode == 0, found.stderr
    print(found.stderr.strip())
