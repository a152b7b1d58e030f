"""Measuring a server: a clock made by hand for the numbers, a real server on this machine for the transport."""

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from windowtax.base.errors import BadInput, FetchFailed
from windowtax.price.xray.endpoint import Probe, measure, prompt_of
from windowtax.price.xray.latency import fit_line

SLOPE_S, INTERCEPT_S = 5e-7, 4e-3


class FakeTime:
    """A clock that the fake server moves: what it streams arrives exactly when it should."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bodies: list[Mapping[str, Any]] = []

    def stream(self, url: str, body: Mapping[str, Any]) -> Iterator[str]:
        self.bodies.append(body)
        prompt_tokens = len(body["prompt"].split())
        self.now += 0.5  # the prefill
        for index in range(body["max_tokens"]):
            self.now += INTERCEPT_S + SLOPE_S * (prompt_tokens + index)
            yield "data: " + json.dumps({"choices": [{"text": "x"}]})
            yield ""
        yield "data: " + json.dumps({"choices": [], "usage": {"prompt_tokens": prompt_tokens}})
        yield "data: [DONE]"


def test_the_line_behind_the_server_is_found():
    fake = FakeTime()
    probe = Probe(contexts=(64, 512, 4_096, 32_768), repeats=2, output_tokens=16, model="m")
    points = measure("http://localhost:1", probe, stream=fake.stream, clock=lambda: fake.now)
    assert len(points) == 8 and len(fake.bodies) == probe.requests == 9
    line = fit_line(points)
    assert line.slope == pytest.approx(SLOPE_S, rel=0.01)
    assert line.intercept == pytest.approx(INTERCEPT_S, rel=0.01)


def test_no_two_prompts_share_a_prefix():
    fake = FakeTime()
    measure("localhost:1", Probe(contexts=(8, 16, 32), repeats=2, output_tokens=8, model="m"), stream=fake.stream,
            clock=lambda: fake.now)  # fmt: skip
    firsts = [body["prompt"].split()[0] for body in fake.bodies]
    assert len(set(firsts)) == len(firsts)
    assert len(prompt_of(100, 1).split()) == 101


@pytest.mark.parametrize(
    "url", ["http://example.com", "https://10.0.0.1:8000/v1", "ftp://localhost/x", "http://localhost.evil.org"]
)
def test_other_machines_are_refused_before_anything_is_sent(url):
    fake = FakeTime()
    with pytest.raises(BadInput, match="not a server on this machine"):
        measure(url, Probe(model="m"), stream=fake.stream)
    assert fake.bodies == []


def test_requests_are_bounded():
    with pytest.raises(BadInput, match="33 requests"):
        measure("http://localhost:1", Probe(contexts=(1, 2, 3, 4), repeats=8, model="m"))


def test_nothing_to_measure_is_refused():
    with pytest.raises(BadInput, match="1 requests"):
        measure("http://localhost:1", Probe(contexts=(), model="m"))


def answering(*lines: str):
    def stream(url: str, body: Mapping[str, Any]) -> Iterator[str]:
        yield from lines

    return stream


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["data: " + json.dumps({"choices": [{"text": "all at once"}], "usage": {"prompt_tokens": 3}})],
            "1 pieces of text",
        ),
        (["data: " + json.dumps({"choices": [{"text": "x"}]})] * 8, "how many tokens the prompt has"),
        (["data: " + json.dumps({"error": {"message": "too long"}})], "too long"),
        (["data: {broken"], "not JSON"),
    ],
)
def test_servers_that_cannot_be_measured_are_told(lines, message):
    with pytest.raises(FetchFailed, match=message):
        measure("http://127.0.0.1:1", Probe(model="m"), stream=answering(*lines))


class Handler(BaseHTTPRequestHandler):
    """/v1/models and a streaming /v1/completions, as OpenAI-compatible servers write them."""

    seen: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "tiny"}]}).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append(body)
        if self.path != "/v1/completions" or body["model"] != "tiny":
            self._send(404, b"{}")
            return
        chunks = [{"choices": [{"text": "é"}]}] * body["max_tokens"]
        lines = [*chunks, {"choices": [], "usage": {"prompt_tokens": len(body["prompt"].split())}}]
        text = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self._send(200, text.encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    Handler.seen = []
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()
    thread.join()


def test_a_real_server_on_this_machine(server, monkeypatch):
    # A proxy of the environment must not be asked.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    points = measure(server, Probe(contexts=(10, 20, 30), repeats=1, output_tokens=6))
    assert [point.context_tokens for point in points] == [11 + 3, 21 + 3, 31 + 3]
    assert all(point.itl_s >= 0 for point in points)
    assert len(Handler.seen) == 4
    assert all(body["stream"] and body["temperature"] == 0 and body["max_tokens"] == 6 for body in Handler.seen)


def test_a_server_that_refuses_the_model(server):
    with pytest.raises(FetchFailed, match="404"):
        measure(server, Probe(contexts=(10,), repeats=1, model="other"))


def test_a_server_that_is_not_there():
    with pytest.raises(FetchFailed, match="running"):
        measure("http://127.0.0.1:9", Probe(contexts=(10,), repeats=1))
