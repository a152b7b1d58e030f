"""The servers under test: how each is started, and how it is ended with all its workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from benchmarks.serving.cells import AT_ONCE, MODEL, WINDOW_TOKENS
from benchmarks.serving.peers import llama_server, tokenizer
from benchmarks.speed.peers import export_weights, python_of

_STARTED_S, _ENDED_S = 150.0, 30.0
_CACHE_BYTES = 3 << 30
_LLAMA_TOKENS = 2560
"""Of one of llama-server's slots, where the load is many requests of 2,240 tokens."""
_OURS = "from windowtax.cli.main import main; main()"
_VLLM = {
    "VLLM_CPU_KVCACHE_SPACE": str(_CACHE_BYTES >> 30),
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "2",
    # Left to itself it keeps one core for its front end, and on two cores computes with one thread.
    "VLLM_CPU_OMP_THREADS_BIND": "0-1",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A command that listens on a port. environment: beside ours."""

    command: list[str]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


def server(engine: str, scenario: str, peers: Path, gguf: Path, state: Path) -> Server:
    """The server of an engine, as good as we could set it up for a scenario. state: a folder that outlives it."""
    port = _free_port()
    if engine == "vllm":
        return _vllm(port, peers, gguf)
    if engine == "llama":
        return _llama(port, scenario, peers, gguf, state)
    return _ours(port, engine, scenario, gguf, state)


def _ours(port: int, weights: str, scenario: str, gguf: Path, state: Path) -> Server:
    words = ["--weights", weights, "--max-model-len", str(WINDOW_TOKENS), "--max-num-seqs", str(max(AT_ONCE))]
    words += ["--kv-cache-memory-bytes", str(_CACHE_BYTES), "--ledger", str(state / "ledger.sqlite")]
    words += ["--cache-ssd", f"{state / 'kept'}:4GB"] if scenario == "repeated" else []
    return Server([sys.executable, "-c", _OURS, "serve", str(gguf), "--port", str(port), *words], port)


def _llama(port: int, scenario: str, peers: Path, gguf: Path, state: Path) -> Server:
    repeated = scenario == "repeated"
    slots = 1 if repeated else max(AT_ONCE)
    words = ["-m", str(gguf), "--port", str(port), "--threads", "2", "--parallel", str(slots), "--no-kv-unified"]
    words += ["--ctx-size", str(WINDOW_TOKENS if repeated else _LLAMA_TOKENS * slots)]
    # Its prefill is faster with flash attention, its decode without: a shared prefix leaves mostly decode.
    words += ["--flash-attn", "off" if scenario == "shared" else "on"]
    words += ["--slot-save-path", str(state)] if repeated else []
    return Server([str(llama_server(peers)), *words], port)


def _vllm(port: int, peers: Path, gguf: Path) -> Server:
    words = ["--model", str(export_weights(peers, gguf, MODEL)), "--tokenizer", str(tokenizer(peers, MODEL))]
    words += ["--port", str(port), "--dtype", "bfloat16", "--enforce-eager", "--max-model-len", str(WINDOW_TOKENS)]
    words += ["--max-num-seqs", str(max(AT_ONCE)), "--enable-prompt-tokens-details"]
    module = "vllm.entrypoints.openai.api_server"
    return Server([str(python_of(peers, "vllm")), "-m", module, *words], port, _VLLM)


@contextlib.contextmanager
def running(one: Server, log: Path) -> Iterator[float]:
    """The server, from when it answers until it and all it started have ended; the seconds that its start took.

    Raises RuntimeError, with the end of its log, where it does not start.
    """
    began = time.perf_counter()
    with log.open("w") as file:
        child = subprocess.Popen(
            one.command, env=os.environ | one.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    try:
        while not _answers(one.url):
            if child.poll() is not None or time.perf_counter() - began > _STARTED_S:
                raise RuntimeError(f"{one.command[:3]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield time.perf_counter() - began
    finally:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_ENDED_S)
        with contextlib.suppress(ProcessLookupError):  # vLLM's workers outlive it
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
