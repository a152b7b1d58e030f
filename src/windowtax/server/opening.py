"""While the model loads: the port is open, and every path answers 503, so that probes and clients wait."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from windowtax.server.errors import ApiError

RETRY_S = 2
"""When to look again. Browsers read it too, so the page comes by itself."""
_START_S = 10.0


@contextmanager
def opening(listening: socket.socket) -> Iterator[None]:
    """Answers on a bound socket, from a thread, until the block ends; who connects in between waits in the backlog."""
    config = uvicorn.Config(_loading, log_config=None, access_log=False, lifespan="off", server_header=False)
    server = uvicorn.Server(config)
    # uvicorn closes the sockets that it is given.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.dup()]}, name="opening", daemon=True)
    thread.start()
    end = time.monotonic() + _START_S
    while thread.is_alive() and not server.started and time.monotonic() < end:
        time.sleep(0.005)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


async def _loading(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": str(RETRY_S), "Refresh": str(RETRY_S)}
    error = ApiError(503, "The model is loading. Try again soon.", code="model_loading", headers=headers)
    await JSONResponse(error.body(scope["path"], ""), error.status, error.headers)(scope, receive, send)
