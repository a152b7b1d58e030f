"""`windowtax serve` as its users start it: a process on a free port."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "smollm2-135m"
_CODE = "import sys; from windowtax.cli.main import main; sys.argv.insert(1, 'serve'); main()"
_ROOT = Path(__file__).parents[2]
_START_S = 120


@contextmanager
def serving(log: Path, *words: str) -> Iterator[str]:
    """Its address, as long as the block lasts. log: what it writes. Raises RuntimeError where it does not start."""
    command = [sys.executable, "-c", _CODE, NAME, "--port", "0", "--ledger", "none", *words]
    environment = os.environ | {"PYTHONPATH": str(_ROOT / "src")}
    with log.open("wb") as lines:  # a file, not a pipe: a server whose log nobody reads would stop
        process = subprocess.Popen(command, stdout=lines, stderr=lines, env=environment)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(60)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        found = re.search(r"^address +(http://\S+)$", log.read_text("utf-8"), re.MULTILINE)
        if found:
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"The server did not start: see {log}.")
