"""The command classify, and the plan's words for arrangements and promises, as a person types them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput, UnknownName
from windowtax.cli import plan as plan_commands
from windowtax.cli.classify import classify_technique


@pytest.fixture
def run():
    app = typer.Typer()
    app.command("classify")(classify_technique)
    app.command()(plan_commands.plan)

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_one_technique_shows_its_path_its_term_and_both_sides(run):
    text = run("classify", "mla")
    for part in ("better amortisation", "b: one latent row per token", "40.00 GiB", "11.25 GiB", "3.56x", "derived"):
        assert part in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_all_techniques_in_one_table(run):
    text = run("classify", "--all", "--context", "32K", "--batch", "4", "--model", "llama-3.1-8b")
    for name in ("gqa", "speculative", "flash-attention", "offload", "path 4"):
        assert name in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_json_holds_both_sides_and_the_factors(run):
    one = json.loads(run("classify", "kv-fp8", "--json"))
    assert one["paths"] == [2] and one["factors"]["cache_bytes"] == 2 and one["basis"] == "derived"
    assert one["without"]["cache_bytes"] == 2 * one["with"]["cache_bytes"] == 40 * 2**30
    everything = json.loads(run("classify", "--all", "--json"))
    assert len(everything["techniques"]) + len(everything["not_here"]) >= 22


def test_unclear_words_are_refused(run):
    with pytest.raises(BadInput):
        run("classify")
    with pytest.raises(BadInput):
        run("classify", "gqa", "--all")
    with pytest.raises(UnknownName):
        run("classify", "gqaa")


def test_an_arrangement_is_kept_and_a_promise_sizes_the_machine(run):
    fit = json.loads(run("plan", "llama-3.1-70b", "--parallel", "tp=8,pp=2", "--users", "8", "--json"))["fit"]
    assert (fit["tensor_parallel"], fit["pipeline_stages"], fit["accelerators"]) == (8, 2, 16)
    words = ("plan", "llama-3.1-70b", "--context", "8K", "--users", "100", "--slo-ttft", "2s", "--json")
    loose, tight = (json.loads(run(*words, "--slo-tpot", tpot)) for tpot in ("100ms", "20ms"))
    assert loose["fit"]["accelerators"] < tight["fit"]["accelerators"]
    for made, limit in ((loose, 0.1), (tight, 0.02)):
        assert made["slo"]["kept"] and made["load"]["now"]["tpot_s"] <= limit and made["load"]["now"]["ttft_s"] <= 2


def test_a_promise_that_nothing_keeps_is_said(run):
    made = json.loads(run("plan", "llama-3.1-70b", "--slo-tpot", "1ms", "--json"))
    assert made["slo"]["kept"] is False
    assert any("promise of" in warning and "is not kept" in warning for warning in made["warnings"])
    assert "NOT KEPT" in run("plan", "llama-3.1-70b", "--slo-tpot", "1ms")


@pytest.mark.parametrize(
    "wrong", [("--slo-ttft", "soon"), ("--slo-tpot", "0s"), ("--parallel", "tp"), ("--gpus", "4", "--parallel", "tp=4")]
)
def test_senseless_words_are_refused(run, wrong):
    with pytest.raises(BadInput):
        run("plan", "llama-3.1-8b", *wrong)


def test_the_derivation_shows_the_equation(run):
    text = run("plan", "llama-3.1-70b", "--explain")
    for part in ("t_mem", "t_comp", "sweet-spot batch B*", "L_eq", "500,000", "knee", "memory full"):
        assert part in text
