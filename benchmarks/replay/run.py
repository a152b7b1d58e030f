"""How fast traces replay: a generated trace through the pass over cache sizes, and through the real scheduler."""

import argparse
import json
import random
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.replay.deployment import ReplayOptions, replica_sizes
from windowtax.plan.replay.fleet import usable_processes
from windowtax.plan.replay.hits import default_sizes, hit_curve
from windowtax.plan.replay.objective import Objective, Slo
from windowtax.plan.replay.read import read_trace
from windowtax.plan.replay.report import play
from windowtax.plan.replay.trace import Trace, TraceRequest

BLOCK_TOKENS = 512
SYSTEM_PROMPTS, SYSTEM_BLOCKS = 8, 2
OPEN_TALKS = 2000
LONGEST_TOKENS = 120_000
REPLICAS = 4

T = TypeVar("T")


def generate(num_requests: int, per_second: float, growth: float = 8.2, seed: int = 0) -> Trace:
    """Conversations: a shared system prompt, turns that grow by a lognormal number of tokens, other talks in between.

    growth: the logarithm of a turn's median tokens.
    """
    draw = random.Random(seed)
    talks: list[tuple[array[int], int]] = []
    requests: list[TraceRequest] = []
    now, fresh = 0.0, SYSTEM_PROMPTS * SYSTEM_BLOCKS
    for line in range(1, num_requests + 1):
        if talks and draw.random() < 0.6:
            keys, tokens = talks.pop(draw.randrange(len(talks)))
        else:
            first = draw.randrange(SYSTEM_PROMPTS) * SYSTEM_BLOCKS
            keys, tokens = array("q", range(first, first + SYSTEM_BLOCKS)), SYSTEM_BLOCKS * BLOCK_TOKENS
        tokens = min(tokens + 1 + int(draw.lognormvariate(growth, 1.0)), LONGEST_TOKENS)
        whole = tokens // BLOCK_TOKENS
        keys = keys[:whole]
        more = whole - len(keys)
        keys.extend(range(fresh, fresh + more))
        fresh += more
        output = 1 + min(2000, int(draw.lognormvariate(5.3, 0.9)))
        requests.append(TraceRequest(now, tokens, output, keys, line))
        if len(talks) >= OPEN_TALKS:
            talks.pop(0)
        talks.append((keys, tokens + output))
        now += draw.expovariate(per_second)
    return Trace(
        name="generated", format="mooncake", requests=tuple(requests), block_tokens=BLOCK_TOKENS, num_keys=fresh
    )


def write(trace: Trace, path: Path) -> None:
    """The trace as a file in Mooncake's format, with a last id for a block that is not full."""
    extra = trace.num_keys
    with path.open("w", encoding="utf-8") as file:
        for one in trace.requests:
            ids = one.keys.tolist()
            if one.num_prompt_tokens % trace.block_tokens:
                ids.append(extra)
                extra += 1
            row = {
                "timestamp": round(one.arrival_s * 1e3),
                "input_length": one.num_prompt_tokens,
                "output_length": one.num_output_tokens,
                "hash_ids": ids,
            }
            file.write(json.dumps(row) + "\n")


def timed(what: Callable[[], T], clock: Callable[[], float] = time.process_time) -> tuple[T, float]:
    """The result, and the seconds that it took: of this process's CPU time, or of another clock."""
    began = clock()
    return what(), round(clock() - began, 2)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the pass over cache sizes")
    parser.add_argument("--exact", type=int, default=10_000, help="of the exact replay")
    parser.add_argument("--per-second", type=float, default=2.5, help="arrivals at each replica of the exact replay")
    parser.add_argument("--growth", type=float, default=8.2, help="logarithm of a turn's median tokens")
    parser.add_argument("--out", type=Path, help="write the trace there and read it back, timed")
    asked = parser.parse_args()
    trace = generate(asked.requests, asked.per_second, asked.growth)
    result: dict[str, object] = {
        "requests": asked.requests,
        "blocks": sum(len(one.keys) for one in trace.requests),
        "mean_prompt_tokens": round(trace.num_prompt_tokens / asked.requests),
        "mean_output_tokens": round(trace.num_output_tokens / asked.requests),
    }
    if asked.out is not None:
        write(trace, asked.out)
        again, result["read_s"] = timed(lambda: read_trace(asked.out))
        assert [one.num_prompt_tokens for one in again.requests] == [one.num_prompt_tokens for one in trace.requests]
        trace = again
    replica = replica_sizes(read_model("llama-3.1-8b"), hardware("h100-sxm"), trace, ReplayOptions())[0]
    sizes = default_sizes(trace, replica.block_bytes)
    curve, result["hits_s"] = timed(lambda: hit_curve(trace, replica.block_bytes, sizes))
    result["sizes"] = {str(point.num_bytes): round(curve.rate(point.found_tokens), 4) for point in curve.points}
    print(json.dumps(result | exact(asked.exact, asked.per_second, asked.growth), indent=2))


def exact(num_requests: int, per_second: float, growth: float) -> dict[str, object]:
    """The exact replay on four replicas: by one process, and by as many as the machine is good for."""
    trace = generate(num_requests, per_second * REPLICAS, growth)
    replica = replica_sizes(read_model("llama-3.1-8b"), hardware("h100-sxm"), trace, ReplayOptions())[0]
    slo = Slo((Objective(ttft_s=5, tpot_s=0.1),))
    alone, alone_s = timed(lambda: play(trace, replica, REPLICAS, slo, processes=1))
    together, together_s = timed(lambda: play(trace, replica, REPLICAS, slo), time.perf_counter)
    assert alone == together
    return {
        "exact_requests": num_requests,
        "exact_s": alone_s,
        "exact_requests_per_s": round(num_requests / alone_s),
        "processes": usable_processes(num_requests, REPLICAS),
        "processes_wall_s": together_s,
        "processes_requests_per_s": round(num_requests / together_s),
        "exact_steps": alone.steps,
        "exact_tokens": alone.scheduled_tokens,
        "running": round(alone.running, 1),
        "busy": round(alone.busy, 3),
        "preemptions": alone.preemptions,
    }


if __name__ == "__main__":
    main()
