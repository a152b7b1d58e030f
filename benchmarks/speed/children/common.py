"""What every child shares: its job, its clock, its result. No dependency, as each engine runs in its own venv."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

BEGAN = time.time()


def job() -> dict[str, Any]:
    """The job, as the one argument of the command line says it in JSON (see `cells.Job`)."""
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    return json.loads(sys.argv[1])


def tokens(task: dict[str, Any]) -> list[int]:
    """The text's token ids, as many as the context is long."""
    with open(task["tokens"], encoding="utf-8") as file:
        found: list[int] = json.load(file)
    assert len(found) >= task["context"], "the text is too short"
    return found[: task["context"]]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def tell(**result: Any) -> None:
    """Prints the result as the last line of standard output. peak_bytes: the most that this process ever held."""
    result["peak_bytes"] = peak_bytes()
    sys.stdout.flush()
    print("\nRESULT " + json.dumps(result), flush=True)


def peak_bytes() -> int:
    """Of this process alone. ru_maxrss would begin with what its parent held, which measured the machine before."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
