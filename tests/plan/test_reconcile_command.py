"""`windowtax plan MODEL --reconcile LOG` and `--engines`, as a person types them."""

import json

import pytest
import typer
from typer.testing import CliRunner

from windowtax.base.errors import BadInput
from windowtax.cli import plan as commands

LOG = "Available KV cache memory: 3.81 GiB\nGPU KV cache size: 31,232 tokens\n"


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(commands.plan)

    def call(*words: str, stdin: str | None = None) -> str:
        result = CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_a_log_is_read_from_a_file_or_from_standard_input(run, tmp_path):
    path = tmp_path / "server.log"
    path.write_text(LOG, encoding="utf-8")
    text = run("llama-3.1-8b", "--reconcile", str(path))
    assert text == run("llama-3.1-8b", "--reconcile", "-", stdin=LOG)
    for part in ("4,093,640,704 B", "3.81 GiB", "0 (rounding)", "31,232 tokens", "measured", "derived", "every digit"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_json_carries_exact_figures(run):
    record = json.loads(run("llama-3.1-8b", "--reconcile", "-", "--json", stdin=LOG))
    assert record["agrees"] is True and record["model"] == "llama-3.1-8b"
    pool, tokens = record["rows"]
    assert (pool["profile"], pool["unit"], pool["difference"]) == (31_232 * 131_072, "B", 0)
    assert (tokens["measured"], tokens["explanation"]) == (31_232, "Printed as blocks // groups * block size.")


def test_ranks_of_the_command_line_are_taken(run):
    text = run(
        "qwen3-235b-a22b",
        "--gpus",
        "8",
        "--reconcile",
        "-",
        stdin="KV Cache is allocated. #tokens: 10, KV size: 0.00 GB",
    )
    assert "8 ranks together store 2 times the architecture's bytes" in text


def test_engines_are_compared_for_one_window(run):
    record = json.loads(run("gpt-oss-120b", "--engines", "--context", "128K", "--json"))
    assert record["logical_bytes"] == 36_864 * 131_072 + 4_718_592  # facts/models.md 1.5
    taken = {engine["engine"]: engine["allocated_bytes"] for engine in record["engines"]}
    assert list(taken) == ["windowtax", "vLLM", "SGLang", "llama.cpp"]
    assert taken["llama.cpp"] == 36_864 * 131_072 + 18 * 768 * 2048
    text = run("gpt-oss-120b", "--engines")
    assert "vLLM" in text and "room for 8,192 tokens in flight" in text


@pytest.mark.parametrize("words", [("--reconcile", "/nowhere/server.log"), ("--reconcile", "-")])
def test_logs_that_cannot_be_read_say_what_to_do(run, words):
    with pytest.raises(BadInput) as raised:
        run("llama-3.1-8b", *words, stdin="nothing here")
    assert raised.value.hint
