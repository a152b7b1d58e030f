"""`windowtax serve` as a process: real weights, the banner, the official clients, signals, the config file."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import typer
from typer.testing import CliRunner

from tests.server.harness import save_tiny_chat
from windowtax.cli.serve import serve
from windowtax.hub import fetch

ROOT = Path(__file__).parents[2]
CODE = "import sys; from windowtax.cli.main import main; sys.argv.insert(1, 'serve'); main()"
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(serve)


@dataclass
class Process:
    """A server process. said: what it wrote before its address."""

    popen: "subprocess.Popen[str]"
    url: str
    said: str

    def end(self, number: int = signal.SIGTERM) -> str:
        """Sends a signal, waits, and gives back what it wrote since."""
        self.popen.send_signal(number)
        rest = self.popen.communicate(timeout=60)[1]
        assert self.popen.returncode in (0, -number), rest
        return rest


def started(*words: str) -> Process:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    popen = subprocess.Popen(
        [sys.executable, "-c", CODE, *words, "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment
    )
    said = ""
    assert popen.stderr is not None
    for line in popen.stderr:
        said += line
        found = re.match(r"address +(http://\S+)", line)
        if found:
            return Process(popen, found[1], said)
    popen.communicate(timeout=60)
    raise AssertionError(f"it did not start:\n{said}")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    ledger = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    words = ("--max-model-len", "2K", "--kv-cache-memory-bytes", "256MiB", "--ledger", str(ledger))
    process = started(str(fetch.pull("smollm2-135m")), "--served-model-name", "smol", *words)
    yield process
    process.end()


@pytest.mark.real
def test_the_banner_and_what_the_model_says(real: Process) -> None:
    assert "2,048 (2K) tokens, as asked" in real.said and "B per token" in real.said
    assert re.search(r"users +\d+\.\d\d at that window", real.said)
    assert re.search(r"kept in +the pool while there is room\n", real.said)
    assert "beyond this machine" not in real.said, "it listens on this machine only"
    question = "What is the capital of France? Answer with one word."
    asked: Any = {"max_tokens": 20, "messages": [{"role": "user", "content": question}]}
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="default", temperature=0, **asked)
    assert answer.model == "smol" and "Paris" in (answer.choices[0].message.content or "")
    with anthropic.Anthropic(base_url=real.url, api_key="none", max_retries=0) as other:
        message = other.messages.create(model="smol", extra_body={"temperature": 0}, **asked)
    assert message.content[0].type == "text" and "Paris" in message.content[0].text
    assert message.usage.cache_read_input_tokens, "the second time its prefix is there"


@pytest.mark.real
def test_the_plan_endpoint_plans_the_served_model(real: Process) -> None:
    here = httpx.get(f"{real.url}/v1/plan").json()
    assert here["context_tokens"] == 2048 and here["hardware"]["name"] == "this-machine"
    more = httpx.post(f"{real.url}/v1/plan", json={"context": "8K", "users": 4}).json()
    assert (more["context_tokens"], more["users"]) == (8192, 4)
    assert httpx.get(f"{real.url}/v1/plan", params={"wibble": "1"}).status_code == 400


def test_a_signal_lets_streams_finish(tmp_path: Path) -> None:
    process = started(str(save_tiny_chat(tmp_path)), "--dtype", "fp32", "--ledger", "none", "--cache-bytes", "64MiB")
    body = {"prompt": "x", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{process.url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        process.popen.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    process.popen.communicate(timeout=60)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert process.popen.returncode in (0, -signal.SIGTERM)


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    process = started(str(save_tiny_chat(tmp_path)), "--dtype", "fp32", "--ledger", "none", "--cache-bytes", "64MiB")
    body = {"prompt": "x", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    with httpx.stream("POST", f"{process.url}/v1/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        began = time.monotonic()
        process.popen.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.popen.send_signal(signal.SIGINT)
        with suppress(httpx.RemoteProtocolError):  # uvicorn closes the connection at once
            for _ in lines:
                pass
    process.popen.communicate(timeout=60)
    assert time.monotonic() - began < 25, "the drain would have taken 30 s"


def test_a_config_file_is_overruled_by_the_command_line(tmp_path: Path) -> None:
    folder = save_tiny_chat(tmp_path / "model")
    file = tmp_path / "serve.yaml"
    file.write_text(
        "max-model-len: 1K\nserved_model_name: [from-file]\ndtype: fp32\nledger: none\ncache-bytes: 64MiB\n"
    )
    process = started(str(folder), "--config", str(file), "--max-model-len", "512")
    models = httpx.get(f"{process.url}/v1/models").json()["data"]
    process.end()
    assert [(model["id"], model["max_model_len"]) for model in models] == [("from-file", 512)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu-memory-utilization", "0.9"], "--kv-cache-memory-bytes"),
        (["--enable-prefix-caching", "--no-enable-prefix-caching"], "cache_salt"),
        (["--tensor-parallel-size", "2"], "one process"),
        (["--config", "nothing.yaml"], "cannot be read"),
        (["--max-model-len", "1M"], "--rope yarn:"),
        (["--kv-cache-memory-bytes", "1KiB"], "the most that fits"),
        (["--log-format", "xml"], "json"),
        (["--compare-api", "nobody"], "PROVIDER/MODEL"),
        (["--host", "256.1.1.1"], "listen"),
        (["--eviction", "random"], "lru"),
        (["--api-keys-file", "nothing.toml"], "cannot be read"),
    ],
)
def test_refusals_say_what_to_do(tmp_path: Path, words: list[str], said: str) -> None:
    common = ["--dtype", "fp32", "--ledger", "none", "--port", "0"]
    result = CliRunner().invoke(app, [str(save_tiny_chat(tmp_path)), *common, *words])
    assert result.exit_code != 0 and said in f"{result.exception} {result.output}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--normalize", "foo"], "billing, date, time, ids"),
        (["--reasoning-parser", "foo"], "deepseek_r1"),
        (["--tool-call-parser", "foo"], "hermes"),
        (["--compare-api", "nobody"], "PROVIDER/MODEL"),
        (["--cache-ram", "much"], "GiB"),
    ],
)
def test_words_are_refused_before_a_model_is_looked_for(words: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["/no/such/model", "--port", "0", *words])
    assert result.exit_code != 0 and said in f"{result.exception} {getattr(result.exception, 'hint', '')}"
