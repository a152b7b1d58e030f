"""Mixed requests against one server: how each ended, whether every block came back, and whether memory stayed flat."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import median
from typing import Any

import httpx
from benchmarks.reliability.mix import Mix, Plan, Scale
from benchmarks.reliability.process import MIB, ServerProcess
from benchmarks.reliability.watch import Watcher
from benchmarks.reliability.wire import FAULT, NOT_TAKEN, Outcome, send

Told = Callable[[int], None]


def run_mixed(
    server: ServerProcess, scale: Scale, *, requests: int, seed: int, clients: int, rounds: int, told: Told
) -> dict[str, Any]:
    """Sends `requests` in `rounds` parts, `clients` at a time; after each part the server must be as it was.

    told: hears how many requests have ended. Returns counts, faults, books after each round, memory and TTFTs.
    """
    mix = Mix(scale, seed)
    outcomes: list[Outcome] = []
    books: list[dict[str, Any]] = []
    began = time.perf_counter()
    with Watcher(server) as watcher:
        for number in range(rounds):
            plans = list(islice(mix, requests * (number + 1) // rounds - len(outcomes)))
            asyncio.run(_send_all(server.url, plans, clients, outcomes, lambda: told(len(outcomes))))
            books.append(books_after(server))
    metrics = server.metrics()
    return {
        "requests": len(outcomes),
        "seconds": time.perf_counter() - began,
        "ended": dict(Counter(outcome.ended for outcome in outcomes)),
        "by_kind": _by_kind(outcomes),
        "codes": dict(Counter(outcome.code for outcome in outcomes if outcome.code)),
        "faults": [
            f"{outcome.plan.kind}: {outcome.why}" for outcome in outcomes if outcome.ended in (FAULT, NOT_TAKEN)
        ],
        "preemptions": int(metrics["num_preemptions_total"]),
        "failed_steps": int(metrics["failed_steps_total"]),
        "mean_step_s": metrics["step_seconds_total"] / metrics["steps_total"],
        "dashboard": watcher.record(),
        "books": books,
        "rss_mib_per_1000_requests": slope([row["requests_sent"] for row in books], [row["rss_mib"] for row in books])
        * 1000,
        "short_ttft_s": quantiles([o.ttft_s for o in outcomes if o.plan.kind == "short" and o.ttft_s is not None]),
    }


async def _send_all(
    url: str, plans: Sequence[Plan], clients: int, outcomes: list[Outcome], ended: Callable[[], None]
) -> None:
    left = iter(plans)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:

        async def one_client() -> None:
            for plan in left:
                outcomes.append(await send(client, plan))
                ended()

        await asyncio.gather(*(one_client() for _ in range(clients)))


def books_after(server: ServerProcess) -> dict[str, Any]:
    """The server's books once it is idle: with kept prefixes, and after they were let go."""
    idle = server.wait_idle()
    kept = server.books()
    server.forget_prefixes()
    books = server.books()
    metrics = server.metrics()
    ended = sum(value for name, value in metrics.items() if name == "request_success_total")
    return {
        "idle": idle,
        "requests_sent": int(ended),
        "blocks_total": sum(group["num_blocks"] for group in books["groups"]),
        "blocks_free": sum(group["num_free"] for group in books["groups"]),
        "blocks_held_but_not_kept": sum(g["num_blocks"] - g["num_free"] for g in kept["groups"]) - kept["kept_blocks"],
        "sequences": len(books["sequences"]),
        "rss_mib": server.rss_bytes / MIB,
    }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile (nearest rank) and the largest."""
    ordered = sorted(values)
    at = max(0, -(-len(ordered) * 99 // 100) - 1)
    return {"count": len(ordered), "p50": median(ordered), "p99": ordered[at], "max": ordered[-1]}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least squares through the later half of the points: the first requests bring every buffer to its size."""
    first = len(x) // 2
    x, y = x[first:], y[first:]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - middle_x) ** 2 for one in x)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.plan.kind, Counter())[outcome.ended] += 1
    return {kind: dict(found[kind]) for kind in sorted(found)}
