"""SIGTERM under load: what runs ends in tokens or a typed error, nothing new is taken, and the process ends."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
from benchmarks.reliability.mix import Mix, Scale
from benchmarks.reliability.process import ServerProcess
from benchmarks.reliability.wire import FAULT, NOT_TAKEN, Outcome, send

DRAIN_S = 2
REQUESTS = 400


def run_endings(
    words: Sequence[str], scale: Scale, work: Path, *, rounds: int, clients: int, seed: int, told: Callable[[int], None]
) -> dict[str, Any]:
    """Starts a server, asks it many things, and ends it in the middle, `rounds` times."""
    outcomes, took, codes = list[Outcome](), list[float](), Counter[str]()
    for number in range(rounds):
        options = ("--drain-timeout", str(DRAIN_S))
        with ServerProcess(*words, *options, log=work / "ended.log") as server:
            plans = islice(Mix(scale, seed + number, leave_share=0.0), REQUESTS)
            outcomes += asyncio.run(_until_it_ends(server, list(plans), clients, 10 + 5 * number))
            began = time.monotonic()
            server.popen.wait(60)
            took.append(time.monotonic() - began)
            codes[str(server.popen.returncode)] += 1
        told(number + 1)
    return {
        "rounds": rounds,
        "requests": len(outcomes),
        "ended": dict(Counter(outcome.ended for outcome in outcomes)),
        "codes": dict(Counter(outcome.code for outcome in outcomes if outcome.code)),
        "faults": [f"{outcome.plan.kind}: {outcome.why}" for outcome in outcomes if outcome.ended == FAULT],
        "return_codes": dict(codes),
        "slowest_end_s": max(took),
    }


async def _until_it_ends(server: ServerProcess, plans: list[Any], clients: int, enough: int) -> list[Outcome]:
    left, outcomes = iter(plans), list[Outcome]()
    async with httpx.AsyncClient(base_url=server.url, timeout=None) as client:

        async def one_client() -> None:
            for plan in left:
                outcomes.append(await send(client, plan))
                if len(outcomes) == enough:
                    server.popen.send_signal(signal.SIGTERM)
                if outcomes[-1].ended == NOT_TAKEN:
                    return

        await asyncio.gather(*(one_client() for _ in range(clients)))
    return outcomes
