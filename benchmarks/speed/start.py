"""Starts one child when the machine is idle and its memory is at hand, with a gauge before it, and says when it began.

Runs in our venv.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from windowtax.engine.gauge import short_gauge

IDLE_SHARE = 15.0
PATIENCE_S = 20.0


def main() -> None:
    """Argument: JSON with the child's command, the bytes to touch before, and whether a neighbour is to be busy."""
    order = json.loads(sys.argv[1])
    waited_s, others = wait_until_idle()
    result: dict[str, object] = {"waited_s": waited_s, "others_percent": others, "load": os.getloadavg()[0]}
    result["touch_s"] = touch_memory(order["touch_bytes"])
    result["gauge"] = short_gauge(psutil.cpu_count() or 1)
    with neighbour() if order["neighbour"] else contextlib.nullcontext():
        result["began"] = time.time()
        child = subprocess.run(
            order["command"], capture_output=True, text=True, timeout=order["timeout_s"], check=False
        )
    lines = [line for line in child.stdout.splitlines() if line.startswith("RESULT ")]
    if child.returncode or not lines:
        print(child.stdout[-1000:], child.stderr[-3000:], file=sys.stderr)
        sys.exit(1)
    print("RESULT " + json.dumps(result | json.loads(lines[-1].removeprefix("RESULT "))))


def wait_until_idle() -> tuple[float, float]:
    """Seconds waited, and the share of the processors that others still use, in percent."""
    began = time.monotonic()
    while (busy := psutil.cpu_percent(0.3)) > IDLE_SHARE and time.monotonic() - began < PATIENCE_S:
        pass
    return time.monotonic() - began, busy


def touch_memory(num_bytes: int) -> float:
    """Seconds in which other processes touched memory and gave it back, so that every child finds it alike.

    A virtual machine may give memory that is free back to its host (free page reporting of its balloon). Touching it
    again cost one thread 2.4 ms per MiB here (0.4 GB/s) where it goes at 8 GB/s otherwise: without this, cold starts
    and first prefills measure how long ago another child held as much. Pages stay for some seconds. Two processes
    take half of the time.
    """
    began, count = time.monotonic(), psutil.cpu_count() or 1
    share = min(num_bytes, psutil.virtual_memory().available // 2) // count
    touch = [sys.executable, str(Path(__file__).with_name("touch.py")), str(share)]
    for one in [subprocess.Popen(touch) for _ in range(count)]:
        assert one.wait() == 0, "touch.py failed"
    return time.monotonic() - began


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """A process that never rests."""
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        busy.terminate()
        busy.wait()


if __name__ == "__main__":
    main()
