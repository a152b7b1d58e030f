"""`windowtax ask` as a user types it, on the smallest real model: answers, bills, and answers that are refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windowtax.hub import fetch

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("ask")]


def run(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    code = "from windowtax.cli.main import main; main()"
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], input=text, text=True, capture_output=True, check=False, env=environment
    )


@pytest.fixture(scope="module", autouse=True)
def weights() -> None:
    fetch.pull("smollm2-135m")


def test_an_answer_and_a_bill_that_agrees(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html><title>x</title><body><p>The pass phrase is <b>marmalade</b>.</p></body></html>")
    done = run("ask", "What is the pass phrase?", "-m", "smollm2-135m", "-f", str(page), "--max-tokens", "24", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert "marmalade" in record["answer"].lower()
    bill = record["bill"]
    assert bill["cache"]["agrees"] is True
    assert bill["cache"]["pool"]["predicted_bytes"] == bill["cache"]["pool"]["allocated_bytes"] > 0
    assert bill["tokens"]["output"] <= 24
    assert len(bill["api"]) == 3
    assert "tokens; prompt:" in done.stderr


def test_standard_input_and_the_printed_bill() -> None:
    words = ("ask", "Which colour?", "-m", "smollm2-135m", "-f", "-", "--max-tokens", "8", "--usd-per-hour", "0.36")
    done = run(*words, text="The door is green. It has always been green.")
    assert done.returncode == 0, done.stderr
    assert "\x1b[" not in done.stdout, "colours although NO_COLOR is set"
    assert done.stdout.count("equal") == 2
    assert "at $0.36 an hour" in done.stdout


def test_the_same_seed_gives_the_same_answer() -> None:
    words = ("ask", "Tell me a story.", "-m", "smollm2-135m", "--max-tokens", "12", "--temperature", "1.2", "--json")
    answers = [json.loads(run(*words, "--seed", seed).stdout)["answer"] for seed in ("1", "1", "2")]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("-f", "no-such-file.txt"), "no-such-file.txt"),
        (("-m", "smollm3-135m"), "smollm2-135m"),
        (("-f", "builtin:python-reference"), "Nothing was cut"),
        (("--cache-bytes", "1MiB", "--max-tokens", "2000"), "the most that fits is"),
        (("--cache-dtype", "int4"), "does not store a cache of int4"),
        (("--cache-dtype", "mxfp4"), "does not store a cache of e2m1 like this yet"),
        (("--attention", "full=topk:4+summary:mean"), "not by mean"),
        (("--attention", "sinks:4"), "is no attention lever"),
        (("--cache-dtype", "bf17"), "bf17"),
        (("--rope", "yarrn:4"), "yarrn:4"),
        (("--temperature", "-1"), "temperature is -1"),
        (("--dtype", "int8"), "does not compute in 'int8'"),
    ],
)
def test_bad_input_is_answered(words: tuple[str, ...], says: str) -> None:
    model = () if "-m" in words else ("-m", "smollm2-135m")
    done = run("ask", "What?", *model, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error:") or "\nerror:" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_rope_scaling_widens_the_window() -> None:
    words = ("ask", "Why?", "-m", "smollm2-135m", "--rope", "linear:4", "--max-tokens", "9000", "--stop", "a", "--json")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bill"]["tokens"]["max_context"] == 32_768
