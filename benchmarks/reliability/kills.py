"""kill -9 under load, again and again, on one folder of kept prefixes: no wrong token, and what was kept is used."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reliability.answers import Answer, Load, reference
from benchmarks.reliability.process import ServerProcess

CACHE = "import sys; from windowtax.cli.main import main; sys.argv.insert(1, 'cache'); main()"
MOST_ANSWERS = 10


def cold_answers(words: Sequence[str], prompts: Sequence[str], num_tokens: int, work: Path) -> list[Answer]:
    """What a server without tiers says to each."""
    with ServerProcess(*words, log=work / "cold.log") as server:
        return reference(server.url, prompts, num_tokens)


def run_kills(
    words: Sequence[str],
    prompts: Sequence[str],
    expected: Sequence[Answer],
    work: Path,
    *,
    tiers: Sequence[Sequence[str]],
    rounds: int,
    clients: int,
    seed: int,
    told: Callable[[int], None],
) -> dict[str, Any]:
    """Starts a server `rounds` times and kills it once so many answers have ended, others half way.

    words: of the server. tiers: its options for tiers, in turns. The folder is read through after every second round.
    Returns verdicts, cached tokens by tier, and what `windowtax cache verify` found.
    """
    choose, num_tokens = random.Random(seed), len(expected[0].tokens)
    total, reused, verified = Load(prompts, expected, num_tokens), 0, list[dict[str, Any]]()
    for number in range(rounds):
        load = Load(prompts, expected, num_tokens)
        server = ServerProcess(*words, *tiers[number % len(tiers)], log=work / "killed.log")
        enough = choose.randint(1, MOST_ANSWERS)

        def stop(whole: int, server: ServerProcess = server, enough: int = enough) -> bool:
            if whole >= enough:
                server.kill()
            return whole >= enough

        try:
            asyncio.run(load.run(server.url, clients, endless(choose, len(prompts)), stop))
        finally:
            server.kill()
        total.verdicts += load.verdicts
        total.by_tier += load.by_tier
        total.wrong += load.wrong
        reused += load.by_tier["disk"] > 0
        if number % 2:
            verified.append(verify(work / "kept"))
        told(number + 1)
    return {"rounds": rounds, "rounds_with_reuse_from_disk": reused, **total.record(), "verified": verified}


def restart_shows_reuse(
    words: Sequence[str], prompts: Sequence[str], expected: Sequence[Answer], work: Path, tiers: Sequence[str]
) -> dict[str, Any]:
    """After all that: a server that is alone with its folder answers every prompt once, one at a time."""
    load = Load(prompts, expected, len(expected[0].tokens))
    with ServerProcess(*words, *tiers, log=work / "after.log") as server:
        asyncio.run(load.run(server.url, 1, range(len(prompts))))
    return load.record()


def verify(folder: Path) -> dict[str, Any]:
    """`windowtax cache verify --json`: damaged records, and bytes of a record that a kill cut off."""
    done = subprocess.run(
        [sys.executable, "-c", CACHE, "verify", "--folder", str(folder), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise RuntimeError(f"cache verify failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    return {"records": found["records"], "damaged": len(found["damaged"]), "skipped_bytes": found["skipped_bytes"]}


def endless(choose: random.Random, count: int) -> Iterator[int]:
    """Numbers below `count`, without end."""
    while True:
        yield choose.randrange(count)
