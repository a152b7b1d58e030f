"""`windowtax serve` as a process: started, asked how it does, limited, killed."""

import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

MIB = 1 << 20
SERVE = "import sys; from windowtax.cli.main import main; sys.argv.insert(1, 'serve'); main()"
FIFO = Path(__file__).parent / "serve_fifo.py"
START_TIMEOUT_S = 120.0


class ServerProcess:
    """A server on a free port of this machine; a context manager that ends it.

    words: of `windowtax serve`. log: where its standard error goes. file_bytes: the longest file that it may write
    (RLIMIT_FSIZE), which looks to it like a disk that is full. fifo: with serve_fifo.py, without fair shares.
    """

    def __init__(self, *words: str, log: Path, file_bytes: int | None = None, fifo: bool = False) -> None:
        program = [str(FIFO)] if fifo else ["-c", SERVE]
        command = [sys.executable, *program, *words, "--port", "0", "--ledger", "none"]
        self.log = log
        with log.open("w") as errors:
            self.popen = subprocess.Popen(command, stdout=errors, stderr=errors)
        if file_bytes is not None:
            resource.prlimit(self.popen.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        self.url = self._address()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()

    def _address(self) -> str:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self.popen.poll() is None:
            found = re.search(r"^address +(http://\S+)$", self.log.read_text(), re.MULTILINE)
            if found:
                return found[1]
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-2000:]}")

    @property
    def rss_bytes(self) -> int:
        """Main memory that the process holds now."""
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{self.popen.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def books(self) -> dict[str, Any]:
        """GET /v1/cache."""
        return httpx.get(f"{self.url}/v1/cache", timeout=60).raise_for_status().json()

    def metrics(self) -> dict[str, float]:
        """Our own counters and gauges by name, summed over their labels."""
        found: dict[str, float] = {}
        for line in httpx.get(f"{self.url}/metrics", timeout=60).raise_for_status().text.splitlines():
            match = re.match(r"windowtax:(\w+)(?:{[^}]*})? (\S+)$", line)
            if match and not match[1].endswith("_bucket"):
                found[match[1]] = found.get(match[1], 0.0) + float(match[2])
        return found

    def wait_idle(self, timeout_s: float = 60.0) -> bool:
        """Waits until nothing runs or waits; False where that does not happen."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            state = httpx.get(f"{self.url}/ready", timeout=60).json()
            if not state["running"] and not state["waiting"]:
                return True
            time.sleep(0.05)
        return False

    def forget_prefixes(self) -> None:
        """Lets every kept block of the device go that nobody uses."""
        httpx.post(f"{self.url}/reset_prefix_cache", timeout=60).raise_for_status()

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()

    def end(self) -> None:
        """SIGTERM, and kill -9 where that does not help within a minute."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()
