"""--attention, --drafts and combined cache dtypes, as a person types them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.cli import plan as commands

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run() -> Run:
    app = typer.Typer()
    for command in (commands.plan, commands.compare):
        app.command()(command)

    def call(*words: str) -> Any:
        result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return call


def test_a_lever_bounds_the_cache(run: Run) -> None:
    cache = run("plan", "llama-3.1-8b", "--context", "1M", "--attention", "full=sinks:4+window:4096")["cache"]
    assert cache["total_bytes"] == 4_100 * 131_072
    assert cache["growth_bytes_per_token"] == 0


def test_drafting_costs_a_layer(run: Run) -> None:
    words = ("plan", "deepseek-v3", "--hardware", "b200-sxm", "--cache-dtype", "fp8_ds_mla")
    assert run(*words)["cache"]["growth_bytes_per_token"] == 61 * 656
    assert run(*words, "--drafts")["cache"]["growth_bytes_per_token"] == 62 * 656


def test_keys_and_values_in_different_dtypes(run: Run) -> None:
    plan = run("plan", "qwen3-8b", "--cache-dtype", "int8/int4+edges:2")
    assert plan["cache_dtype"] == "int8/int4+edges:2"
    assert plan["cache"]["growth_bytes_per_token"] == 8 * (4 * 512 + 32 * (132 + 68))


def test_what_cannot_be_done_is_said(run: Run) -> None:
    with pytest.raises(BadInput, match="no attention lever"):
        run("plan", "llama-3.1-8b", "--attention", "windowed")
    with pytest.raises(UnsupportedModel, match="cannot draft"):
        run("plan", "llama-3.1-8b", "--drafts")
