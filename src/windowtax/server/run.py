"""Running the server: bind first, then serve, and end without losing a request."""

import logging
import socket
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from windowtax.base.errors import BadInput
from windowtax.server.served import Served

log = logging.getLogger("windowtax.service")
_CLOSE_S = 5.0
"""For sending the last words after the last step."""


class Server(uvicorn.Server):
    """Tells the engine's service at the first signal, so that it takes nothing more and ends what runs in time."""

    def __init__(self, config: uvicorn.Config, served: Served) -> None:
        super().__init__(config)
        self._served = served

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second ends at once."""
        service, drain_s = self._served.service, self._served.settings.drain_s
        log.info("shutting down", extra={"facts": {"running": service.num_running, "waiting": service.num_waiting}})
        service.close(0.0 if self.should_exit else drain_s)
        super().handle_exit(sig, frame)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises BadInput where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is told; with it, small answers wait 40 ms for an ACK.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise BadInput(
            f"Nothing can listen on {host} port {port}: {error}.", "Choose another --host or --port."
        ) from None
    return made


def make_server(app: ASGIApp, served: Served) -> Server:
    """A server that has not begun."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(served.settings.drain_s + _CLOSE_S),
    )
    return Server(config, served)
