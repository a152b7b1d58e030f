"""plan, compare and sweep take the same options, and mean the same by them."""

import json
from dataclasses import fields

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput
from windowtax.cli import plan as commands
from windowtax.cli.plan_words import Question

NAMES = [field.name for field in fields(Question)]
HELD = ("--parallel", "tp=4,dp=2", "--slo-ttft", "60s", "--slo-tpot", "200ms")


@pytest.fixture
def app():
    found = typer.Typer()
    for command in (commands.plan, commands.compare, commands.sweep):
        found.command()(command)
    return found


@pytest.fixture
def run(app):
    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_every_option_is_there_with_the_same_help_and_default(app):
    group = typer.main.get_command(app)
    params = {name: {one.name: one for one in command.params} for name, command in group.commands.items()}
    for name in NAMES:
        plan, compare, sweep = (params[command][name] for command in ("plan", "compare", "sweep"))
        assert plan.opts == compare.opts == sweep.opts
        if name != "context":
            assert plan.help == compare.help == sweep.help and plan.help
            assert plan.default == compare.default == sweep.default


@pytest.mark.parametrize("words", [HELD, ("--parallel", "ring=2,tp=4"), ("--slo-tpot", "30ms", "--users", "8")])
def test_compare_and_sweep_plan_as_plan_does(run, words):
    one = json.loads(run("plan", "llama-3.1-70b", "--context", "32K", *words, "--json"))
    assert json.loads(run("compare", "llama-3.1-70b", "--context", "32K", *words, "--json")) == [one]
    assert json.loads(run("sweep", "llama-3.1-70b", "--context", "32K", *words, "--json")) == [one]


def test_a_promise_that_is_not_kept_is_said_in_every_line(run):
    words = ("llama-3.1-70b", "--slo-ttft", "2s")
    lines = run("sweep", *words, "--context", "4K,128K").splitlines()
    assert "promise" in lines[1] and lines[2].endswith(" kept") and lines[3].endswith("not kept")
    text = run("compare", "llama-3.1-8b", *words, "--context", "16K")
    (promise,) = [line for line in text.splitlines() if line.startswith("promise")]
    assert "up to" in promise
    assert "promise" not in run("sweep", "llama-3.1-70b", "--context", "4K")


@pytest.mark.parametrize("words", [("--parallel", "tp=3"), ("--parallel", "fast"), ("--slo-ttft", "soon")])
@pytest.mark.parametrize("command", ["plan", "compare", "sweep"])
def test_what_plan_refuses_the_others_refuse(run, command, words):
    with pytest.raises(BadInput):
        run(command, "llama-3.1-8b", *words)


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "llama-3.1-8b", "--json", "--csv"),
        ("plan", "llama-3.1-8b", "--json", "--explain"),
        ("compare", "llama-3.1-8b", "--json", "--csv"),
        ("sweep", "llama-3.1-8b", "--json", "--csv"),
    ],
)
def test_two_outputs_at_once_are_refused(run, words):
    with pytest.raises(BadInput, match="different outputs"):
        run(*words)


def test_an_api_beside_the_plan(run):
    words = ("plan", "llama-3.1-70b", "--api", "anthropic/claude-opus-5", "--calls", "10000")
    data = json.loads(run(*words, "--json"))["api"]
    assert data["usd_per_month"] == pytest.approx(10_000 * (130_816 * 5 + 256 * 25) / 1e6)
    text = run(*words)
    assert "The same calls at anthropic/claude-opus-5" in text and "$6,605" in text
    assert "one call at the API" in run(*words, "--explain")
    assert json.loads(run(*words[:2], "--json"))["api"] is None
