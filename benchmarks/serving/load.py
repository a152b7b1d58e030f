"""The load generator: closed loops of clients that speak OpenAI's streaming completions, the same for every server."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

Json = dict[str, Any]
_PATIENCE_S = 240.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw. Times are of one clock: sent, first text, last text (s). tokens: as the server counts them.

    cached_tokens: of the prompt, as the server tells; None where it does not.
    """

    sent: float
    first: float
    last: float
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None
    text: str

    @property
    def ttft_s(self) -> float:
        """Until the first text."""
        return self.first - self.sent

    @property
    def tpot_s(self) -> float | None:
        """Per token after the first."""
        return (self.last - self.first) / (self.output_tokens - 1) if self.output_tokens > 1 else None


def body(model: str, prompt: str, max_tokens: int) -> Json:
    """A request that gives exactly so many tokens, greedily, and its usage at the end."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def client(base_url: str) -> httpx.AsyncClient:
    """One client for all loops of a cell; every request has a connection of its own, as servers close idle ones."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=base_url, timeout=_PATIENCE_S, limits=limits, trust_env=False)


async def ask(http: httpx.AsyncClient, request: Json) -> Answer:
    """One streamed completion. Raises RuntimeError where it is refused, breaks off, or tells no usage."""
    sent = time.perf_counter()
    stamps: list[float] = []
    texts: list[str] = []
    usage: Json | None = None
    async with http.stream("POST", "/v1/completions", json=request) as response:
        if response.status_code != 200:
            raise RuntimeError(f"{response.status_code}: {(await response.aread()).decode()[:500]}")
        async for event in events(response.aiter_bytes()):
            if "error" in event:
                raise RuntimeError(json.dumps(event["error"])[:500])
            usage = event.get("usage") or usage
            for choice in event.get("choices", ()):
                if choice.get("text"):
                    stamps.append(time.perf_counter())
                    texts.append(choice["text"])
    if usage is None or not stamps:
        raise RuntimeError("The stream ended without text and usage.")
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        sent,
        stamps[0],
        stamps[-1],
        usage["prompt_tokens"],
        usage["completion_tokens"],
        details.get("cached_tokens"),
        "".join(texts),
    )


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Json]:
    """The JSON events of a stream of bytes, however these are cut; comments and the last word are no events."""
    held = b""
    async for chunk in chunks:
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data and data != b"[DONE]":
                yield json.loads(data)


async def closed_loop(http: httpx.AsyncClient, requests: Sequence[Json], at_once: int) -> tuple[list[Answer], float]:
    """Answers to all requests, so many under way at any time; and the seconds from first sent to last answer."""
    left = iter(requests)
    answers: list[Answer] = []

    async def one_client() -> None:
        for request in left:
            answers.append(await ask(http, request))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one_client())
    return answers, time.perf_counter() - began


def summary(answers: Sequence[Answer], wall_s: float) -> Mapping[str, float | int | None]:
    """What a cell keeps: rates over the whole load, the middle and the worst of what single clients saw."""
    output = sum(answer.output_tokens for answer in answers)
    prompt = sum(answer.prompt_tokens for answer in answers)
    ttft = [answer.ttft_s for answer in answers]
    tpot = [answer.tpot_s for answer in answers if answer.tpot_s is not None]
    cached = [answer.cached_tokens for answer in answers if answer.cached_tokens is not None]
    return {
        "requests": len(answers),
        "wall_s": wall_s,
        "prompt_tokens": prompt,
        "output_tokens": output,
        "cached_tokens": sum(cached) if cached else None,
        "output_tokens_per_s": output / wall_s,
        "total_tokens_per_s": (prompt + output) / wall_s,
        "ttft_s": statistics.median(ttft),
        "ttft_worst_s": max(ttft),
        "tpot_s": statistics.median(tpot) if tpot else None,
    }
