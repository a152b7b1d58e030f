"""A short request behind long prompts: when its first token comes, in seconds and in steps."""

import asyncio
import json
import random
import time
from statistics import median
from typing import Any

import httpx
from benchmarks.reliability.mix import COMPLETIONS
from benchmarks.reliability.process import ServerProcess

SHORT_TOKENS = 32
SETTLE_S = 0.4
"""From the start of the long prompts to the short one: they are then in the middle of being read."""


async def first_token_s(client: httpx.AsyncClient, prompt: list[int], max_tokens: int) -> float:
    """From sending a prompt to its first token."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "stream": True, "temperature": 0}
    began, found = time.perf_counter(), None
    async with client.stream("POST", COMPLETIONS, json=body) as answer:
        async for line in answer.aiter_lines():
            if found is None and line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                if event["choices"] and (event["choices"][0]["text"] or event["choices"][0]["finish_reason"]):
                    found = time.perf_counter() - began
    if found is None:
        raise RuntimeError("an answer without a token")
    return found


def full_step_s(server: ServerProcess, step_tokens: int, *, rounds: int, seed: int) -> float:
    """What a step takes that reads a prompt of its whole budget, where nobody else asks: the median."""
    choose, took = random.Random(seed), list[float]()

    async def once() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=None) as client:
            await first_token_s(client, [choose.randrange(5, 30_000) for _ in range(step_tokens)], 1)

    for _ in range(rounds):
        before = server.metrics()["step_seconds_total"]
        asyncio.run(once())
        took.append(server.metrics()["step_seconds_total"] - before)
    return median(took)


def behind(server: ServerProcess, num_long: int, long_tokens: int, *, rounds: int, seed: int) -> dict[str, Any]:
    """TTFTs of a short prompt that comes behind `num_long` long ones. No prompt shares a prefix with another."""
    choose = random.Random(seed)
    short, long, steps = list[float](), list[float](), list[float]()

    def ids(count: int) -> list[int]:
        return [choose.randrange(5, 30_000) for _ in range(count)]

    async def once() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=None) as client:
            waiting = [asyncio.create_task(first_token_s(client, ids(long_tokens), 1)) for _ in range(num_long)]
            await asyncio.sleep(SETTLE_S)
            short.append(await first_token_s(client, ids(SHORT_TOKENS), 2))
            long.extend(await asyncio.gather(*waiting))

    for _ in range(rounds):
        before = server.metrics()
        asyncio.run(once())
        after = server.metrics()
        took, count = (after[name] - before[name] for name in ("step_seconds_total", "steps_total"))
        steps.append(took / count)
    step_s = median(steps)
    return {
        "long_prompts": num_long,
        "short_ttft_s": median(short),
        "short_ttft_s_max": max(short),
        "step_s": step_s,
        "steps_to_first_token": median(short) / step_s,
        "long_ttft_s": median(long) if long else None,
        "long_ttft_s_max": max(long) if long else None,
    }
