"""A benchmark in pieces: each a process of its own on an idle machine, and what it measured kept.

So a run that was stopped goes on where it stood.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from benchmarks.speed.start import wait_until_idle

from windowtax.engine.gauge import short_gauge

ROOT = Path(__file__).parents[2]
BOUND_S = 280
"""The longest that a piece may take."""
MOST_OTHERS_PERCENT = 30.0
"""Of the processors, used by others, before a piece begins: with more it does not."""
Round = dict[str, Any]


class Kept:
    """What was measured, by the key of a piece, one entry per round."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rounds: dict[str, list[Round]] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def add(self, key: str, found: Round) -> None:
        """Keeps one more round, at once."""
        self.rounds.setdefault(key, []).append(found)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.rounds, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)

    def forget(self, keys: Sequence[str]) -> None:
        """Lets these be measured anew."""
        for key in keys:
            self.rounds.pop(key, None)


def run_piece(key: str, module: str, task: Mapping[str, object], prefix: Sequence[str] = ()) -> Round | None:
    """What a piece measured; None, with the reason on standard error, where it failed: the next goes on.

    module: run with `python -m`, the task in JSON as its argument. prefix: put before the command, such as taskset.
    """
    began = time.monotonic()
    command = [*prefix, sys.executable, "-m", module, json.dumps(task)]
    environment = os.environ | {"OMP_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    child = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in child.stdout.splitlines() if line.startswith("RESULT ")]
    if child.returncode or not lines:
        print(f"{key}: FAILED (exit code {child.returncode}) {child.stdout[-1000:]}", file=sys.stderr)
        return None
    print(f"{key}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return json.loads(lines[-1].removeprefix("RESULT "))


def task_of_piece() -> dict[str, Any]:
    """The task, in the child, which from now on ends in order when it is told to, or has taken too long."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _end)
    signal.alarm(BOUND_S)
    return json.loads(sys.argv[1])


def _end(number: int, _frame: object) -> None:
    sys.exit(f"ended by {signal.Signals(number).name}")


def on_idle_machine() -> Round:
    """Waits until the others are quiet; what the machine was like then goes into the result.

    Ends the piece where they do not become so: a figure that was measured beside somebody else's work is none.
    """
    waited_s, others = wait_until_idle()
    if others > MOST_OTHERS_PERCENT:
        sys.exit(f"others use {others:.0f}% of the processors: nothing was measured")
    found = {
        "waited_s": waited_s,
        "others_percent": others,
        "load": os.getloadavg()[0],
        "gauge": short_gauge(psutil.cpu_count() or 1),
    }
    return {"date": datetime.date.today().isoformat(), **found}


def tell(found: Round) -> None:
    """Hands the result to the parent."""
    print("RESULT " + json.dumps(found), flush=True)


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
