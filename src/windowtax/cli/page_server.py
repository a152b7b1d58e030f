"""The server behind `windowtax plan --open`: standard library only, for this machine only."""

import webbrowser
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast
from urllib.parse import urlsplit

from windowtax.base.errors import BadInput
from windowtax.cli.console import messages
from windowtax.plan.page.pages import Answer, Pages
from windowtax.plan.page.planner import Planner
from windowtax.plan.page.plots import warm

LOCALHOST = "127.0.0.1"


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
        pages = Pages(planner)

    try:
        server = ThreadingHTTPServer((LOCALHOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise BadInput(f"Nothing can listen on port {port}: {error}.", "Leave --port out for a free one.") from None
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD, and only to the names of this machine: a page elsewhere cannot ask through a browser."""

    pages: Pages
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
        for name, value in (answer.headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            # A browser that has moved on closes the connection; the answer is then for nobody.
            with suppress(ConnectionError):
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the terminal belongs to the person who started it."""
