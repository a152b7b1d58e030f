"""The server behind `windowtax plan --open`: standard library only, for this machine only."""

import json
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from windowtax.base.errors import BadInput, WindowtaxError
from windowtax.cli.console import messages
from windowtax.plan.page.controls import prices_html
from windowtax.plan.page.document import REPORT_POLICY, asset, error_page, figures_json, live_page, plots_json, report
from windowtax.plan.page.form import Form
from windowtax.plan.page.planner import Planner
from windowtax.plan.page.plots import warm

LOCALHOST = "127.0.0.1"
_LONGEST_QUERY = 4096
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "tips.js": "text/javascript"}
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def show(planner: Planner, port: int = 0, browser: bool = True) -> None:
    """Serves the page until Ctrl-C. Raises BadInput where the port is taken, and what planning raises."""
    planner.plan(planner.start.form)
    with make_server(planner, port) as server:
        Thread(target=warm, daemon=True).start()
        address = f"http://{LOCALHOST}:{server.server_port}/"
        console = messages()
        console.print(f"{address}  (Ctrl-C stops it)", markup=False)
        if browser and not webbrowser.open(address):
            console.print("No browser could be started here; open the address yourself.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("Stopped.")


def make_server(planner: Planner, port: int = 0) -> ThreadingHTTPServer:
    """A server on this machine's own address; port 0 takes a free one. Raises BadInput where the port is taken."""

    class Handler(_Handler):
        pages = _Pages(planner)

    try:
        server = ThreadingHTTPServer((LOCALHOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise BadInput(f"Nothing can listen on port {port}: {error}.", "Leave --port out for a free one.") from None
    server.daemon_threads = True
    return server


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. policy: what the browser may load for it; nothing from anywhere else."""

    status: HTTPStatus
    media: str
    text: str
    policy: str = _POLICY


class _Pages:
    """What stands at which path."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._made: dict[str, tuple[str, Callable[[Form], str]]] = {
            "": ("text/html", lambda form: live_page(planner, form)),
            "report.html": ("text/html", lambda form: report(planner, form)),
            "figures": ("application/json", lambda form: json.dumps(figures_json(planner, form))),
            "plots": ("application/json", lambda form: json.dumps(plots_json(planner, form))),
        }

    def answer(self, path: str, query: str) -> Answer:
        """The answer for a path without its slash. Words that make no question give status 400 and say why."""
        if path in _ASSETS:
            return Answer(HTTPStatus.OK, _ASSETS[path], asset(path))
        if path == "prices":
            return Answer(HTTPStatus.OK, "text/html", prices_html())
        if path not in self._made:
            return Answer(HTTPStatus.NOT_FOUND, "text/plain", "There is nothing here.\n")
        media, make = self._made[path]
        try:
            policy = REPORT_POLICY if path == "report.html" else _POLICY
            return Answer(HTTPStatus.OK, media, make(self._form(query)), policy)
        except WindowtaxError as error:
            said = {"message": error.message, "hint": error.hint}
            text = json.dumps(said) if media == "application/json" else error_page(error)
            return Answer(HTTPStatus.BAD_REQUEST, media, text)

    def _form(self, query: str) -> Form:
        if len(query) > _LONGEST_QUERY:
            raise BadInput("The question is too long.")
        pairs = parse_qsl(query, keep_blank_values=True)
        typed = dict(pairs)
        if len(typed) < len(pairs):
            raise BadInput("A field is given twice.")
        return self._planner.start.read(typed)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, and only to the names of this machine: a page elsewhere cannot ask through a browser."""

    pages: _Pages
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "windowtax", ""
    timeout = 60

    def do_GET(self) -> None:
        """The page, its parts, or an error that says what is wrong."""
        port: int = cast("ThreadingHTTPServer", self.server).server_port
        if self.headers.get("Host") not in {f"{LOCALHOST}:{port}", f"localhost:{port}"}:
            self._send(Answer(HTTPStatus.FORBIDDEN, "text/plain", "This page is for this machine only.\n"))
            return
        parts = urlsplit(self.path)
        self._send(self.pages.answer(parts.path.removeprefix("/"), parts.query))

    def do_HEAD(self) -> None:
        """The same without the text."""
        self.do_GET()

    def _send(self, answer: Answer) -> None:
        body = answer.text.encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", f"{answer.media}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", answer.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            # A browser that has moved on closes the connection; the answer is then for nobody.
            with suppress(ConnectionError):
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal belongs to the person who started it."""
