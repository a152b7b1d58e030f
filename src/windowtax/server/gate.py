"""The gate in front of all endpoints, as plain ASGI: request id, host, key, body limit, errors."""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from windowtax.server.call import SCOPE_KEY, Call
from windowtax.server.errors import ApiError
from windowtax.server.keys import ANYBODY, Caller, Keyring
from windowtax.server.settings import Settings

log = logging.getLogger("windowtax.http")

OPEN_PATHS = {"/", "/health", "/ping", "/ready", "/version", "/metrics"}
"""Reachable without a key: what load balancers and Prometheus read, and the page, which asks for the key itself."""
OPEN_FOLDERS = ("/page/",)
_REQUEST_ID = re.compile(r"[\w.:-]{1,128}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, settings: Settings, keyring: Keyring) -> None:
        self.app = app
        self.settings = settings
        self.keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one call."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        call = Call(_request_id(headers), Caller(ANYBODY))
        scope[SCOPE_KEY] = call
        sent = _Sent(send, call)
        try:
            call.caller = self._caller(scope["path"], headers)
            self._check_host(headers)
            await self.app(scope, await self._with_body(receive, headers), sent)
        except ApiError as error:
            await _send_error(error, scope, receive, sent, call)
        except Exception as error:
            log.exception("an endpoint failed", extra={"facts": {"request_id": call.request_id}})
            if not sent.started:
                failed = ApiError(500, f"The server failed: {type(error).__name__}.", code="internal_error")
                await _send_error(failed, scope, receive, sent, call)
        finally:
            self._log(scope, call, sent)

    def _caller(self, path: str, headers: Headers) -> Caller:
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return Caller(ANYBODY)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
        return self.keyring.find(key)

    def _check_host(self, headers: Headers) -> None:
        """Another page that points its name at this machine must not reach a server without keys through a browser."""
        allowed, host = self.settings.hosts, _host(headers)
        if "*" in allowed or not self.keyring.is_open or host in allowed:
            return
        raise ApiError(403, f"This server does not answer to the name {host[:200]!r}: see --allowed-hosts.")

    async def _with_body(self, receive: Receive, headers: Headers) -> Receive:
        """The body, read whole; then whatever the connection says. Raises ApiError 413, 408 and 400."""
        limit = self.settings.body_bytes
        length = headers.get("content-length", "0")
        too_large = ApiError(
            413, f"The body is longer than this server takes ({limit:,} bytes).", code="body_too_large"
        )
        if length.isdigit() and int(length) > limit:
            raise too_large
        body = bytearray()
        more = True
        while more:
            try:
                message = await asyncio.wait_for(receive(), self.settings.body_timeout_s)
            except TimeoutError:
                raise ApiError(408, "The body did not arrive in time.", code="body_timeout") from None
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                raise too_large
        _refuse_lone_surrogates(bytes(body))
        first: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        return replay

    def _log(self, scope: Scope, call: Call, sent: "_Sent") -> None:
        facts = {
            "request_id": call.request_id,
            "key": call.caller.name,
            "method": scope["method"],
            "path": scope["path"],
            "status": sent.status,
            "seconds": round(time.perf_counter() - call.began, 6),
            **call.log,
        }
        if call.warnings:
            facts["warnings"] = call.warnings
        quiet = scope["path"] in OPEN_PATHS and sent.status < 400
        log.log(logging.DEBUG if quiet else logging.INFO, "call", extra={"facts": facts})


class _Sent:
    """Passes messages on, adds the request id and the warnings, and remembers the status."""

    def __init__(self, send: Send, call: Call) -> None:
        self._send = send
        self._call = call
        self.started = False
        self.status = 499  # what is logged where the client left before anything was sent

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._call.request_id
            headers["x-content-type-options"] = "nosniff"
            for warning in self._call.warnings:
                headers.append("x-windowtax-warning", warning.encode("ascii", "replace").decode()[:500])
        await self._send(message)


async def _send_error(error: ApiError, scope: Scope, receive: Receive, send: _Sent, call: Call) -> None:
    call.log["error"] = error.message
    if not send.started:
        response = JSONResponse(error.body(scope["path"], call.request_id), error.status, error.headers)
        await response(scope, receive, send)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex[:24]}"


def _host(headers: Headers) -> str:
    """The name that was asked for, without the port."""
    given = headers.get("host", "")
    return given[: given.find("]") + 1] if given.startswith("[") else given.partition(":")[0]


def _refuse_lone_surrogates(body: bytes) -> None:
    """Half a character cannot be tokenized or sent back: JSON allows it, UTF-8 does not."""
    if not _SURROGATE.search(body):
        return
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ApiError(400, "The body holds half of a surrogate pair, which is no text.", code="invalid_text") from None
    except (ValueError, RecursionError):
        return  # what is wrong with this JSON is told by whoever reads it
