"""`windowtax plan --html` as a person types it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from tests.page.test_view import Figures
from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli import plan as commands


def run(*words: str) -> str:
    app = typer.Typer()
    app.command()(commands.plan)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_report_shows_what_the_terminal_computes(tmp_path):
    words = ("meta-llama/Llama-3.1-8B", "--context", "96K", "--users", "3", "--hardware", "h100", "--usd-per-hour", "2")
    path = tmp_path / "report.html"
    run(*words, "--html", str(path))
    data = json.loads(run(*words, "--json"))
    text = path.read_text(encoding="utf-8")
    found = Figures(text).found
    assert json.loads(found["cache.total_bytes"]) == data["cache"]["total_bytes"] == 96 * 1024 * 131_072
    assert json.loads(found["time.ttft_s"]) == data["time"]["ttft_s"]
    assert json.loads(found["cost.usd_per_call"]) == data["cost"]["usd_per_call"]
    assert "windowtax plan llama-3.1-8b --context 96K --users 3 --usd-per-hour 2" in text


def test_what_lies_over_the_model_lies_over_the_page_too(tmp_path):
    path = tmp_path / "report.html"
    run("qwen3-8b", "--context", "128K", "--rope", "yarn:4", "--html", str(path))
    text = path.read_text(encoding="utf-8")
    assert "arithmetic only" not in text and "--rope yarn:4" in text


def test_an_arrangement_and_a_promise_stay(tmp_path):
    path = tmp_path / "report.html"
    words = ("llama-3.1-70b", "--context", "64K", "--parallel", "tp=4,dp=2", "--slo-tpot", "100ms")
    run(*words, "--html", str(path))
    data = json.loads(run(*words, "--json"))
    text = path.read_text(encoding="utf-8")
    assert json.loads(Figures(text).found["fit.accelerators"]) == data["fit"]["accelerators"] == 8
    assert "--parallel tp=4,dp=2 --slo-tpot 100ms" in text


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("llama-9", "--html", "x.html"), UnknownName),
        (("llama-3.1-8b", "--hardware", "abacus", "--open", "--no-browser"), UnknownName),
        (("llama-3.1-8b", "--html", "/nowhere/x.html"), BadInput),
        (("llama-3.1-8b", "--port", "8000"), BadInput),
        (("llama-3.1-8b", "--no-browser"), BadInput),
        (("llama-3.1-8b", "--html", "x.html", "--json"), BadInput),
        (("llama-3.1-8b", "--open", "--no-browser", "--port", "99999"), BadInput),
    ],
)
def test_errors_are_ours(words, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        run(*words)
