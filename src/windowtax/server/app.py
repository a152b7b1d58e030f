"""The application: all endpoints behind the gate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from windowtax.base.errors import WindowtaxError
from windowtax.server import chat, completions, info, messages, planning, responses, stock, tokens
from windowtax.server.call import call_of
from windowtax.server.errors import ApiError, api_error
from windowtax.server.gate import Gate
from windowtax.server.generate import ClientGone
from windowtax.server.keys import Keyring
from windowtax.server.openapi import describe
from windowtax.server.page import routes as page
from windowtax.server.served import Served
from windowtax.server.version import version

MODULES = (chat, completions, responses, messages, tokens, info, stock, planning, page)


def make_app(served: Served, keyring: Keyring) -> ASGIApp:
    """The ASGI application. Its end drains the engine's service and closes the ledger."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        served.service.start()
        yield
        served.service.close()
        served.service.join()
        if served.ledger is not None:
            served.ledger.close()

    app = FastAPI(title="windowtax", version=version(), lifespan=life, docs_url=None, redoc_url=None)
    app.state.served = served
    for module in MODULES:
        app.include_router(module.router)
    describe(app, is_open=keyring.is_open)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(WindowtaxError, _windowtax_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGone, _gone)
    wrapped: ASGIApp = Gate(app, settings=served.settings, keyring=keyring)
    if served.settings.cors_origins:
        wrapped = CORSMiddleware(
            wrapped,
            allow_origins=served.settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-windowtax-warning", "retry-after"],
        )
    return wrapped


def _answer(request: Request, error: ApiError) -> Response:
    call = call_of(request)
    call.log["error"] = error.message
    return JSONResponse(error.body(request.url.path, call.request_id), error.status, error.headers)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _answer(request, error)


async def _windowtax_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WindowtaxError)
    return _answer(request, api_error(error))


async def _invalid(request: Request, error: Exception) -> Response:
    """What pydantic says, without the input, which may be anything."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part)[:80] for part in first["loc"][1:])
    more = len(error.errors()) - 1
    text = f"{place or 'The body'}: {first['msg']}" + (f" (and {more} more)" if more else "")
    return _answer(request, ApiError(400, text, param=place or None, code="invalid_body"))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return _answer(request, ApiError(error.status_code, str(error.detail), headers=headers))


def _methods(request: Request) -> list[str]:
    """All methods of a path: each of its routes alone knows its own."""
    found = set[str]()
    for route in (route for module in MODULES for route in module.router.routes):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody reads this; the log says 499."""
    return Response(status_code=499)
