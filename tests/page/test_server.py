"""The server: asked over HTTP as a browser asks, and as others might."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.page.asking import planner
from tests.page.test_view import Figures
from windowtax.base.errors import BadInput
from windowtax.cli.page_server import make_server
from windowtax.plan.contract import plan_json
from windowtax.plan.page.view import at

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with make_server(planner()) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, path: str, host: str | None = None, method: str = "GET", **fields: str) -> tuple[int, str]:
    """(status, text) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    query = f"?{urlencode(fields)}" if fields else ""
    connection.request(method, f"/{path}{query}", headers={"Host": host or f"127.0.0.1:{port}"})
    reply = connection.getresponse()
    found = reply.status, reply.read().decode()
    connection.close()
    return found


@pytest.mark.parametrize(
    "typed",
    [
        {},
        {"context": "256K", "users": "16", "cache_dtype": "int8"},
        {"model": "gemma-3-27b", "hardware": "l4", "usd_per_hour": "0.5", "output_tokens": "1K"},
        {"model": "llama-3.1-405b", "gpus": "8", "context": "1M"},
    ],
)
def test_every_figure_on_the_page_is_the_plans(port, typed):
    status, text = ask(port, "figures", **typed)
    assert status == 200
    got, other = json.loads(text), planner()
    data = json.loads(json.dumps(plan_json(other.plan(other.start.read(typed)))))
    assert got["plan"] == data
    for found in (Figures(got["figures"]).found, Figures(ask(port, "", **typed)[1]).found):
        assert len(found) == 9
        assert {path: json.loads(text) if text else None for path, text in found.items()} == {
            path: at(data, path) for path in found
        }


def test_the_plots_come(port):
    status, text = ask(port, "plots", context="32K")
    assert status == 200
    assert json.loads(text)["plots"].count("<svg") == 8


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"users": "many"}, "many"),
        ({"context": "<b>"}, "<b>"),
        ({"model": "/etc/passwd"}, "/etc/passwd"),
        ({"cache_dtype": "bf99"}, "bf99"),
        ({"weights": "bf99"}, "bf99"),
        ({"hardware": "abacus"}, "abacus"),
        ({"colour": "red"}, "colour"),
        ({"context": "9" * 5000}, "too long"),
    ],
)
def test_a_bad_form_is_answered_not_crashed_on(port, typed, says):
    for path in ("figures", "plots"):
        status, text = ask(port, path, **typed)
        assert status == 400
        assert says in json.loads(text)["message"]
    for path in ("", "report.html"):
        status, text = ask(port, path, **typed)
        assert status == 400 and 'role="alert"' in text
        assert "<b><b>" not in text, "what was typed is escaped"


def test_price_lists_to_choose_from(port):
    status, text = ask(port, "prices")
    assert status == 200
    names = re.findall(r'<option value="([^"]+)">', text)
    assert len(names) > 500 and names == sorted(names) and "anthropic/claude-opus-5" in names
    assert any(name.startswith("alibaba/") for name in names), "own lists too"


def test_sliders_of_an_api_mean_nothing_while_none_is_named(port):
    got = json.loads(ask(port, "figures", calls="1000", utilisation="0.9")[1])
    assert got["plan"]["api"] is None and "--calls" not in got["command"]


def test_a_field_given_twice_is_refused(port):
    assert ask(port, "figures?users=1&users=2")[0] == 400


def test_only_this_machine_is_answered(port):
    assert ask(port, "figures", host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil.example"):
        assert ask(port, "figures", host=host)[0] == 403


def test_other_paths_and_methods(port):
    for path in ("page.html", "../pyproject.toml", "static/page.css", "%2e%2e/form.py", "page.py"):
        assert ask(port, path)[0] == 404
    assert ask(port, "page.js")[0] == ask(port, "tips.js")[0] == ask(port, "page.css")[0] == 200
    assert ask(port, "", method="HEAD") == (200, "")
    assert ask(port, "", method="POST")[0] == 501


def test_many_at_once_get_their_own_answers(port):
    answers: dict[int, int] = {}

    def one(users: int) -> None:
        answers[users] = json.loads(ask(port, "figures", users=str(users))[1])["plan"]["users"]

    threads = [threading.Thread(target=one, args=(users,)) for users in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {users: users for users in range(1, 13)}


def test_a_port_that_is_taken_is_said(port):
    with pytest.raises(BadInput, match=str(port)):
        make_server(planner(), port)


def test_the_command_serves_until_it_is_interrupted():
    words = ["plan", "llama-3.1-8b", "--context", "64K", "--cache-dtype", "int8", "--open", "--no-browser"]
    # A shell's background jobs ignore SIGINT, and so would what they start.
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = heed + "import sys\nfrom windowtax.cli.main import main\nsys.argv = ['windowtax', *sys.argv[1:]]\nmain()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[0]
        data = json.loads(ask(int(address.rstrip("/").rpartition(":")[2]), "figures")[1])["plan"]
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert data["cache"]["total_bytes"] == 65_536 * 32 * 2 * 8 * (128 + 4)
    assert process.returncode == 0 and "Stopped" in rest and "Traceback" not in rest
