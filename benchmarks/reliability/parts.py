"""The parts of the benchmark, as they are run against SmolLM2: how much of each, and with which options."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.reliability.answers import make_prompts
from benchmarks.reliability.disks import damaged, damaged_while_running, full_disk, two_servers
from benchmarks.reliability.endings import run_endings
from benchmarks.reliability.fairness import behind, full_step_s
from benchmarks.reliability.kills import cold_answers, restart_shows_reuse, run_kills
from benchmarks.reliability.mix import Scale
from benchmarks.reliability.mixed import run_mixed
from benchmarks.reliability.process import ServerProcess

Told = Callable[[int], None]
MODEL = "smollm2-135m"
SCALE = Scale(window_tokens=4096, short_words=40, prefix_words=250, long_tokens=(1000, 3000), output_tokens=32,
              token_ids=30_000)  # fmt: skip
SMALL_POOL = (MODEL, "--max-model-len", "4K", "--kv-cache-memory-bytes", "128MiB")
"""5,824 tokens: 24 clients of this mix want more, so that some are preempted all the time."""
EXACT = (MODEL, "--dtype", "fp32", "--cache-dtype", "fp32", "--weights", "full", "--max-model-len", "1K",
         "--kv-cache-memory-bytes", "160MiB")  # fmt: skip
"""fp32 throughout: in bf16 a near tie may fall to another token where a batch is put together in another way."""
OUTPUT_TOKENS = 12
WINDOW = 8192
STEP_TOKENS = 2048
DISK_BYTES = 8 << 20


def mixed(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """2,000 mixed requests against one server; first, what it takes where nobody else asks."""
    with ServerProcess(*SMALL_POOL, log=work / "mixed.log") as server:
        alone = behind(server, 0, 0, rounds=20, seed=1)
        step_s = full_step_s(server, STEP_TOKENS, rounds=5, seed=2)
        found = run_mixed(server, SCALE, requests=int(2000 * scale), seed=1, clients=24, rounds=8, told=told)
    return {"short_alone_ttft_s": alone["short_ttft_s"], "quiet_step_s": step_s, **found}


def burst(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """A hundred clients at a server that lets 24 requests wait, with all tiers."""
    limits = ("--max-waiting", "24", "--max-num-seqs", "12")
    tiers = ("--cache-ssd", f"{work / 'burst'}:100MB", "--cache-ram", "64MiB")
    with ServerProcess(*SMALL_POOL, *limits, *tiers, log=work / "burst.log") as server:
        return run_mixed(server, SCALE, requests=int(800 * scale), seed=2, clients=100, rounds=4, told=told)


def levers(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """The mix with guesses ahead, an int8 cache, another eviction policy and all tiers."""
    options = ("--speculate", "ngram", "--cache-dtype", "int8", "--eviction", "lfu")
    tiers = ("--cache-ssd", f"{work / 'levers'}:100MB", "--cache-ram", "32MiB")
    small = ("--max-model-len", "4K", "--kv-cache-memory-bytes", "72MiB")
    with ServerProcess(MODEL, *small, *options, *tiers, log=work / "levers.log") as server:
        return run_mixed(server, SCALE, requests=int(800 * scale), seed=3, clients=24, rounds=4, told=told)


def endings(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """SIGTERM under load."""
    return run_endings(SMALL_POOL, SCALE, work, rounds=max(1, int(10 * scale)), clients=24, seed=1, told=told)


def kills(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """20 rounds of kill -9 under load, on one folder, with a budget that holds all and one that does not."""
    prompts = make_prompts(1, prefixes=4, tails=3, prefix_words=250, tail_words=100)
    expected = cold_answers(EXACT, prompts, OUTPUT_TOKENS, work)
    kept = work / "kept"
    tiers = (
        ("--cache-ssd", f"{kept}:1GB"),
        ("--cache-ssd", f"{kept}:60MB", "--cache-ram", "64MiB"),
    )
    rounds = max(2, int(20 * scale))
    found = run_kills(EXACT, prompts, expected, work, tiers=tiers, rounds=rounds, clients=6, seed=2, told=told)
    return found | {"afterwards": restart_shows_reuse(EXACT, prompts, expected, work, tiers[0])}


def fairness(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """A short prompt behind full-window prefills, with fair shares and first come, first served."""
    found: dict[str, Any] = {}
    for name, fifo in (("shares", False), ("fifo", True)):
        pool = ("--kv-cache-memory-bytes", "1200MiB")
        with ServerProcess(MODEL, *pool, log=work / "fairness.log", fifo=fifo) as server:
            found[name] = [
                behind(server, count, WINDOW - 2, rounds=max(1, int(5 * scale)), seed=count)
                for count in (0, 1, 2, 4, 8)
            ]
        told(len(found))
    return found


def folders(work: Path, scale: float, told: Told) -> dict[str, Any]:
    """Two servers on one folder, a full disk, and every kind of damage."""
    prompts = make_prompts(3, prefixes=3, tails=max(2, int(4 * scale)), prefix_words=150, tail_words=60)
    expected = cold_answers(EXACT, prompts, OUTPUT_TOKENS, work)
    found: dict[str, Any] = {"two servers": two_servers(EXACT, prompts, expected, work, clients=3)}
    told(1)
    with _small_disk(work) as (disk, file_bytes):
        found["full disk"] = full_disk(
            EXACT, prompts, expected, disk / "kept", work, clients=3, file_bytes=file_bytes
        ) | {"kind": "tmpfs" if file_bytes is None else "RLIMIT_FSIZE", "bytes": DISK_BYTES}
    told(2)
    found["damage"] = damaged(EXACT, prompts, expected, work, seed=3)
    told(3)
    found["damage while running"] = damaged_while_running(EXACT, prompts, expected, work, clients=3, seed=4)
    told(4)
    return found


PARTS: dict[str, tuple[Callable[[Path, float, Told], dict[str, Any]], int]] = {
    "mixed": (mixed, 2000), "burst": (burst, 800), "levers": (levers, 800), "endings": (endings, 10),
    "kills": (kills, 20), "fairness": (fairness, 2), "folders": (folders, 4),
}  # fmt: skip
"""By name: what runs it, and how much it will tell at full scale."""


@contextmanager
def _small_disk(work: Path) -> Iterator[tuple[Path, int | None]]:
    """A disk of DISK_BYTES: a tmpfs where this user may mount one; else a folder, and a limit for files."""
    disk = work / "small-disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "windowtax", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield disk, None if mounted else DISK_BYTES
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def run_part(name: str, scale: float, told: Told) -> dict[str, Any]:
    """One part, in a folder of its own that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="windowtax-reliability-") as folder:
        return PARTS[name][0](Path(folder), scale, told)
