"""One prefix through all tiers, in two processes: the second is what comes after a restart."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kit.pages import cached_bytes, drop, files_in
from benchmarks.kit.pieces import Round, on_idle_machine, say, task_of_piece, tell
from benchmarks.tiers import rule
from benchmarks.tiers.bench import Prompts, engine_with, first_token, forget, load_model, warm
from benchmarks.tiers.cells import REPEATS, TAIL_TOKENS
from benchmarks.tiers.disk import read_bytes_per_s

from windowtax.engine.tiering import TieredCache

_RAM_BYTES = 2 << 30


def first_life(task: Round) -> Round:
    """Computes the prefix, then asks for it from the device, from host RAM and from the page cache."""
    model, kept = load_model(task), Path(task["folder"])
    prompts = Prompts(model)
    found: Round = {"backend": model.backend.name}
    with engine_with(model, task, ssd=kept, ram_bytes=_RAM_BYTES) as engine:
        warm(engine, prompts)
        prefix, tail = prompts.take(task["tokens"]), prompts.take(TAIL_TOKENS)
        found["cold"] = [first_token(engine, prefix, tail)]
        found["device"] = [first_token(engine, prefix, prompts.take(TAIL_TOKENS)) for _ in range(REPEATS)]
        found["host"] = []
        for _ in range(REPEATS):
            forget(engine)
            found["host"].append(first_token(engine, prefix, prompts.take(TAIL_TOKENS)))
        layout = engine.cache.layout
        found |= {"bytes_per_token": layout.growth_bytes_per_token, "block_tokens": layout.block_size}
    with engine_with(model, task, ssd=kept) as engine:
        warm(engine, prompts)
        found["disk_warm"] = []
        for _ in range(REPEATS):
            forget(engine)
            found["disk_warm"].append(first_token(engine, prefix, prompts.take(TAIL_TOKENS)))
        found["disk_warm_rates"] = rates(engine.cache)
    (kept / "prompt.json").write_text(json.dumps([prefix, tail]))
    return found


def second_life(task: Round) -> Round:
    """Another process: reads the prefix from the disk, whose pages nobody has."""
    model, kept = load_model(task), Path(task["folder"])
    prompts = Prompts(model)
    prompts.take(task["tokens"] // 2)
    prefix, tail = json.loads((kept / "prompt.json").read_text())
    segments = files_in(kept / "segments")
    found: Round = {"disk": [], "still_cached_bytes": 0}
    with engine_with(model, task, ssd=kept) as engine:
        warm(engine, prompts)
        for _ in range(REPEATS):
            forget(engine)
            drop(segments)
            found["still_cached_bytes"] = max(found["still_cached_bytes"], cached_bytes(segments))
            found["disk"].append(first_token(engine, prefix, prompts.take(TAIL_TOKENS)))
        found["disk_rates"] = rates(engine.cache)
        found["token_again"] = first_token(engine, prefix, tail)["token"]
    found["segment_bytes"] = sum(path.stat().st_size for path in segments)
    drop(segments)
    found["own_direct_bytes_per_s"] = read_bytes_per_s(segments, direct=True)
    drop(segments)
    found["own_dropped_bytes_per_s"] = read_bytes_per_s(segments, direct=False)
    found["own_cached_bytes_per_s"] = read_bytes_per_s(segments, direct=False)
    return found


def rates(cache: Any) -> Round:
    """What the engine itself measured, and decides by."""
    assert isinstance(cache, TieredCache)
    speeds = cache.lower.speeds
    return {
        "prefill_tokens_per_s": speeds.prefill.per_s,
        "bytes_per_s": {tier: speed.per_s for tier, speed in speeds.tiers.items()},
    }


def _after_a_restart(task: Round) -> Round:
    command = [sys.executable, "-m", "benchmarks.tiers.piece", json.dumps(task | {"life": 2})]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout.splitlines()[-1].removeprefix("RESULT "))


def main() -> None:
    """The task: model, rope, tokens, cache_dtype, whether it is about the rule, and a folder on the disk."""
    task = task_of_piece()
    if task.get("life") == 2:
        tell(second_life(task))
        return
    found = on_idle_machine()
    with tempfile.TemporaryDirectory(prefix="windowtax-tiers-", dir=task["scratch"]) as folder:
        task["folder"] = folder
        if task["rule"]:
            found |= rule.choices(task, Path(folder))
        else:
            found |= first_life(task)
            found |= _after_a_restart(task)
            assert found["token_again"] == found["cold"][0]["token"], "another token after the restart"
            for source in ("cold", "device", "host", "disk_warm", "disk"):
                say(f"  {source}: {statistics.median(one['ttft_s'] for one in found[source]) * 1e3:,.0f} ms")
    tell(found)


if __name__ == "__main__":
    main()
