"""ITL against context, measured on an OpenAI-compatible server of this machine: a bounded number of streamed requests.

Only the standard library: streaming a few hundred lines needs no client. Other machines are refused, because a network
in between adds its own time to every token, and because this sends as many tokens as it is told to.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from statistics import median
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from windowtax.base.errors import BadInput, FetchFailed
from windowtax.price.xray.latency import Point

MOST_REQUESTS = 32
WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "larch")
Stream = Callable[[str, Mapping[str, Any]], Iterator[str]]
"""(url, JSON body) -> the lines of the answer as they arrive."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What is sent. contexts: words of prompt. output_tokens: asked of each request. model: "" takes the first."""

    contexts: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    repeats: int = 2
    output_tokens: int = 32
    model: str = ""

    @property
    def requests(self) -> int:
        """How many requests that is, the warm-up included."""
        return len(self.contexts) * self.repeats + 1


def measure(
    url: str,
    probe: Probe,
    *,
    stream: Stream | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Point, ...]:
    """One point per request: prompt tokens plus half the answer, and the median time between two tokens.

    url: the server's base, with or without /v1. stream, clock: for tests. Raises BadInput for another machine or too
    many requests, FetchFailed where the server does not answer or does not stream.
    """
    if not 1 < probe.requests <= MOST_REQUESTS or probe.output_tokens < 4:
        raise BadInput(
            f"{probe.requests} requests of {probe.output_tokens} tokens are not measured.",
            f"At most {MOST_REQUESTS} requests, and at least 4 tokens from each.",
        )
    base, send = _local(url), stream or stream_lines
    model = probe.model or _first_model(base)
    _one(send, base, model, probe.contexts[0], probe.output_tokens, clock, turn=0)
    return tuple(
        _one(send, base, model, words, probe.output_tokens, clock, turn=turn + 1)
        for turn in range(probe.repeats)
        for words in probe.contexts
    )


def _one(
    send: Stream, base: str, model: str, words: int, output_tokens: int, clock: Callable[[], float], *, turn: int
) -> Point:
    body = {
        "model": model,
        "prompt": prompt_of(words, turn),
        "max_tokens": output_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Servers that know it do not stop at an end token, so that there are enough gaps to take a median of.
        "ignore_eos": True,
    }
    arrivals: list[float] = []
    prompt_tokens = 0
    for line in send(f"{base}/completions", body):
        chunk = _chunk(line)
        if chunk is None:
            continue
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            prompt_tokens = int(cast("dict[str, Any]", usage).get("prompt_tokens", 0))
        if _text(chunk):
            arrivals.append(clock())
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    if len(gaps) < 3:
        raise FetchFailed(
            f"{base} sent {len(arrivals)} pieces of text for a prompt of {words:,} words; a line needs more.",
            "The server must stream (/v1/completions with stream: true), one token at a time.",
        )
    if not prompt_tokens:
        raise FetchFailed(f"{base} does not tell how many tokens the prompt has (stream_options.include_usage).")
    # The first gap holds the end of the prefill.
    return Point(prompt_tokens + len(arrivals) / 2, median(gaps[1:]))


def prompt_of(words: int, turn: int) -> str:
    """A prompt of so many words. Its first word differs with the turn, so that no prefix cache shortens a prefill."""
    return f"{turn}-{words} " + " ".join(WORDS[(turn + index * 5) % len(WORDS)] for index in range(words))


def _chunk(line: str) -> dict[str, Any] | None:
    if not line.startswith("data:") or line[5:].strip() in ("", "[DONE]"):
        return None
    try:
        found: object = json.loads(line[5:])
    except ValueError as error:
        raise FetchFailed(f"The server streamed a line that is not JSON: {line[:80]!r}.") from error
    if not isinstance(found, dict):
        return None
    chunk = cast("dict[str, Any]", found)
    if chunk.get("error"):
        raise FetchFailed(f"The server answered with an error: {chunk['error']}.")
    return chunk


def _text(chunk: Mapping[str, Any]) -> str:
    choices = cast("Sequence[Mapping[str, Any]]", chunk.get("choices") or [])
    return str(choices[0].get("text") or "") if choices else ""


def _local(url: str) -> str:
    """The base with /v1. Raises BadInput unless it is http on this machine."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme not in ("http", "https") or not loopback:
        raise BadInput(
            f"{url} is not a server on this machine.",
            "Only localhost is measured: a network adds its own time to every token. Measure there, write "
            "context_tokens,itl_ms into a CSV file, and give it with --latency.",
        )
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


def _first_model(base: str) -> str:
    try:
        with _opener().open(f"{base}/models", timeout=30) as answer:
            found = cast("dict[str, Any]", json.loads(answer.read()))
        return str(cast("list[dict[str, Any]]", found["data"])[0]["id"])
    except (URLError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise FetchFailed(
            f"{base}/models did not name a model: {error}.", "Is the server running? Or name it with --model."
        ) from error


def stream_lines(url: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Posts JSON and gives the lines of the answer as they arrive. Raises FetchFailed."""
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with _opener().open(request, timeout=600) as answer:
            for line in answer:
                yield line.decode("utf-8", errors="replace").strip()
    except (URLError, OSError) as error:
        raise FetchFailed(
            f"{url} did not answer: {error}.", "Is the server running, and is the window long enough?"
        ) from error


def _opener() -> Any:
    # A proxy of the environment must not come between this machine and itself.
    return build_opener(ProxyHandler({}))
