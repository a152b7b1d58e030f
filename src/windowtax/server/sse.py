"""Server-sent events: a stream that notices at once when its client leaves, and never ends without a last word."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from windowtax.server.errors import ApiError, Json
from windowtax.server.generate import Generation

log = logging.getLogger("windowtax.http")

KEEP_ALIVE = ": keep-alive\n\n"
DONE = "data: [DONE]\n\n"


def data(payload: Json) -> str:
    """One event without a name, as OpenAI sends them."""
    return f"data: {json.dumps(payload, ensure_ascii=False, separators=(',', ':'))}\n\n"


def named(payload: Json) -> str:
    """One event under the name of its type, as Anthropic sends them, and OpenAI's Responses."""
    return f"event: {payload['type']}\n{data(payload)}"


def comment(text: str) -> str:
    """A line that clients skip: it keeps proxies from thinking that nobody is there."""
    return f": {text}\n\n"


class EventStream(Response):
    """Sends what `events` yields. The generation is closed whatever happens.

    last_words: what is sent in place of the rest where the generation fails on the way.
    """

    media_type = "text/event-stream"

    def __init__(
        self, generation: Generation, events: AsyncGenerator[str, None], last_words: Callable[[ApiError], str]
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._generation = generation
        self._events = events
        self._last_words = last_words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the events end or the client leaves."""
        sending = asyncio.create_task(self._send_all(send))
        watching = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        failure: ApiError | None = None
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async for event in self._events:
                    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            except ApiError as error:
                failure = error
            except Exception as error:
                log.exception("a stream failed", extra={"facts": {"request_id": self._generation.call.request_id}})
                failure = ApiError(500, f"The server failed: {type(error).__name__}.", code="internal_error")
            if failure is not None:
                await send(
                    {"type": "http.response.body", "body": self._last_words(failure).encode(), "more_body": True}
                )
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._events.aclose()
            self._generation.close(failure)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
