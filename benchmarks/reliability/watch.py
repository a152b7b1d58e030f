"""While others ask: a dashboard that reads the server's books all the time, and connections without manners."""

import random
import socket
import threading
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx
from benchmarks.reliability.process import ServerProcess

PATHS = ("/metrics", "/v1/cache?blocks=50", "/health", "/ready", "/v1/models")
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
RUDE = (
    HEAD + b"Content-Length: 5000\r\n\r\n" + b'{"messages": [',  # a body that breaks off
    HEAD,  # no end of the head
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"mes\r\nzz\r\n",  # a chunk without a length
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),  # TLS to a port that speaks none
    b"GET / HTTP/9.9\r\n\r\n" * 3,
)  # fmt: skip


class Watcher:
    """Reads all of PATHS every `every_s` seconds and sends one of RUDE, in a thread, until the block ends."""

    def __init__(self, server: ServerProcess, every_s: float = 0.25) -> None:
        self.num_reads = self.num_rude = 0
        self.failed: list[str] = []
        self.slowest_s: dict[str, float] = dict.fromkeys(PATHS, 0.0)
        self._server = server
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def record(self) -> dict[str, Any]:
        """What was seen. failed: reads that got no 200."""
        return {
            "reads": self.num_reads,
            "rude_connections": self.num_rude,
            "failed": self.failed,
            "slowest_s": self.slowest_s,
        }

    def _run(self) -> None:
        choose = random.Random(1)
        with httpx.Client(base_url=self._server.url, timeout=60) as client:
            while not self._over.wait(self._every_s):
                for path in PATHS:
                    self._read(client, path)
                self._be_rude(choose.choice(RUDE))

    def _read(self, client: httpx.Client, path: str) -> None:
        began = time.monotonic()
        try:
            answer = client.get(path)
        except httpx.HTTPError as error:
            self.failed.append(f"{path}: {type(error).__name__}: {error}")
            return
        self.slowest_s[path] = max(self.slowest_s[path], time.monotonic() - began)
        self.num_reads += 1
        if answer.status_code != 200 and not (path == "/ready" and answer.status_code == 503):
            self.failed.append(f"{path}: {answer.status_code} {answer.text[:200]}")

    def _be_rude(self, words: bytes) -> None:
        address = urlsplit(self._server.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(words)
        self.num_rude += 1
