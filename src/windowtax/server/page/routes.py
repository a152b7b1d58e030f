"""The page's own paths: its files, the texts that it sends, the block map, and the planner in a frame."""

import asyncio
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel

from windowtax.engine.block_map import map_of, seen_of
from windowtax.engine.prompt import asked_text
from windowtax.plan.page.pages import Answer, Pages
from windowtax.server.call import Call, call_of
from windowtax.server.errors import ApiError, Json
from windowtax.server.served import Served, served_of
from windowtax.texts.read import read_bytes

router = APIRouter()
_MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; img-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser may load for the page: what this server has, and nothing from anywhere else."""


class Document(BaseModel):
    """A document as it was read."""

    name: str
    text: str


class Question(BaseModel):
    """What is typed, and the documents that it is about."""

    documents: list[Document] = []
    question: str


@router.get("/", include_in_schema=False)
async def index() -> Response:
    """The page."""
    return _static("index.html")


@router.get("/page/{name}", include_in_schema=False)
async def part(name: str) -> Response:
    """One of its files."""
    if name not in _names():
        raise ApiError(404, "The page has no such file.")
    return _static(name)


@router.post("/v1/page/document", include_in_schema=False)
async def document(
    http: Request, served: Annotated[Served, Depends(served_of)], name: Annotated[str, Query(max_length=1000)]
) -> dict[str, Any]:
    """A file's bytes as text, read as `windowtax ask --file` reads it, and how many tokens it takes alone."""
    data = await http.body()

    def read() -> Json:
        found = read_bytes(name, data)
        count = len(served.tokenizer.encode(found.text, add_special_tokens=False))
        return {"name": found.name, "text": found.text, "note": found.note, "num_tokens": count}

    return await run_in_threadpool(read)


@router.post("/v1/page/message", include_in_schema=False)
async def message(body: Question) -> dict[str, str]:
    """Documents and question as one message, laid out as `windowtax ask` does."""
    return {"content": asked_text([(one.name, one.text) for one in body.documents], body.question)}


@router.get("/v1/cache/map")
async def cache_map(
    served: Annotated[Served, Depends(served_of)], call: Annotated[Call, Depends(call_of)]
) -> dict[str, Any]:
    """Which block of the pool belongs to whom, which prefixes are kept, who shares them, and where else they lie.

    Prefixes and requests are those of the asking key; of all others together, the bytes.
    """
    salt = call.caller.salt_with("")
    seen = await asyncio.wrap_future(served.service.do(lambda engine: seen_of(engine, salt)))
    return await run_in_threadpool(map_of, served.service.engine, seen)


@router.get("/plan/{path:path}", include_in_schema=False)
async def plan(path: str, http: Request, served: Annotated[Served, Depends(served_of)]) -> Response:
    """The planner's own page, about the served model on this machine."""
    if served.planner is None:
        raise ApiError(404, "This server does not plan: its model is not described by files that plans read.")
    answer: Answer = await run_in_threadpool(Pages(served.planner, "'self'").answer, path, http.url.query)
    return Response(answer.text, answer.status, answer.headers)


def _static(name: str) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"}
    return Response(_text(name), headers=headers, media_type=_MEDIA[PurePosixPath(name).suffix])


@cache
def _names() -> frozenset[str]:
    folder = files("windowtax.server.page").joinpath("static")
    return frozenset(one.name for one in folder.iterdir() if PurePosixPath(one.name).suffix in _MEDIA)


@cache
def _text(name: str) -> str:
    return files("windowtax.server.page").joinpath("static", name).read_text(encoding="utf-8")
