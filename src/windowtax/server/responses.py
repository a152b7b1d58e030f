"""POST /v1/responses: OpenAI's newer shape, for text and function calls. Nothing is stored between calls."""

import time
import uuid
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from windowtax.engine.news import Finished, Progress, Text
from windowtax.engine.request import FinishReason
from windowtax.server.call import Call, call_of
from windowtax.server.conversation import Conversation, Prepared, chosen_tool, functions, prepare, response_schema
from windowtax.server.errors import ApiError, Json, bad_field
from windowtax.server.fields import SamplingFields
from windowtax.server.generate import Answer, Generation
from windowtax.server.openapi import STREAMED
from windowtax.server.response_items import Items, input_messages
from windowtax.server.served import Served, served_of
from windowtax.server.sse import KEEP_ALIVE, EventStream, comment, named
from windowtax.server.usage import responses_usage

router = APIRouter()


class ResponsesRequest(SamplingFields):
    """The body of a response."""

    model: str | None = None
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    stream: bool = False
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    background: bool | None = None
    truncation: str | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    def as_conversation(self) -> Conversation:
        """Messages and tools. Raises ApiError 400."""
        if self.previous_response_id or self.conversation or self.background:
            raise bad_field(
                "previous_response_id",
                "This server keeps no responses: send the whole conversation as input. Its prefix is cached anyway.",
                "unsupported",
            )
        if self.truncation not in (None, "disabled"):
            raise bad_field("truncation", "Nothing is cut here: truncation can only be disabled.", "unsupported")
        tools = functions(self.tools)
        made = [{"role": "system", "content": self.instructions}] if self.instructions else []
        asked = input_messages(self.input)
        effort = (self.reasoning or {}).get("effort")
        return Conversation(
            messages=[*made, *asked],
            names=["instructions"] * len(made) + [f"input message {place}" for place in range(len(asked))],
            tools=tools,
            tool_choice=chosen_tool(self.tool_choice, tools),
            several_calls=self.parallel_tool_calls is not False,
            schema=response_schema((self.text or {}).get("format"), "text.format"),
            variables={} if not effort else {"reasoning_effort": effort},
        )


@router.post("/v1/responses", response_model=None, responses=STREAMED)
async def responses(
    body: ResponsesRequest,
    http: Request,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> Response:
    """Answers in the shape of OpenAI's Responses, whole or as a stream."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    prepared = await prepare(
        served, call, body.as_conversation(), body, endpoint="responses", max_tokens=body.max_output_tokens
    )
    generation = Generation(served, call, prepared.ask)
    reply = _Reply(generation, prepared, body)
    generation.start()
    if body.stream:
        return EventStream(generation, reply.stream(), reply.failed)
    answers = await generation.collect(http)
    return JSONResponse(reply.whole(answers[0]))


@dataclass
class _Reply:
    """Writes the answer of one call."""

    generation: Generation
    prepared: Prepared
    body: ResponsesRequest
    created: float = field(default_factory=time.time)
    items: Items = field(default_factory=Items)
    number: int = 0

    def __post_init__(self) -> None:
        self._id = f"resp_{uuid.uuid4().hex}"

    def whole(self, answer: Answer) -> Json:
        """The body of an answer that is not streamed."""
        reader = self.prepared.reader()
        for delta in [*reader.push(answer.text), *reader.finish()]:
            self.items.events(delta)
        self.items.end()
        assert answer.finish_reason is not None
        return self._response(answer.finish_reason)

    async def stream(self) -> AsyncGenerator[str, None]:
        """The events of a streamed answer."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event({"type": kind, "response": self._response(None)})
        reader = self.prepared.reader()
        async for news in self.generation.news():
            if news is None:
                yield KEEP_ALIVE
            elif isinstance(news, Progress):
                yield comment(f"prompt {news.num_computed_tokens}/{len(self.prepared.prompt_ids)}")
            elif isinstance(news, Text):
                for event in self._events(reader.push(news.text)):
                    yield event
            elif isinstance(news, Finished):
                for event in self._events(reader.finish()):
                    yield event
                for item_event in self.items.end():
                    yield self._event(item_event)
                whole = self._response(news.reason)
                yield self._event({"type": f"response.{whole['status']}", "response": whole})

    def failed(self, error: ApiError) -> str:
        """The last words of a stream that broke off."""
        told = {"code": error.code or "server_error", "message": error.message}
        response = self._response(None) | {"status": "failed", "error": told}
        return self._event({"type": "response.failed", "response": response})

    def _events(self, deltas: list[Any]) -> Iterator[str]:
        for delta in deltas:
            for event in self.items.events(delta):
                yield self._event(event)

    def _event(self, event: Json) -> str:
        self.number += 1
        return named({"type": event["type"], "sequence_number": self.number - 1, **event})

    def _usage(self) -> Json:
        return responses_usage(self.generation.bill(), self.prepared.thought_tokens(self.generation))

    def _response(self, reason: FinishReason | None) -> Json:
        """The response as far as it is; reason: why it ended, None while it goes on."""
        body, ended = self.body, reason is not None
        status = "in_progress" if not ended else "incomplete" if reason is FinishReason.LENGTH else "completed"
        params = self.prepared.params[0]
        return {
            "id": self._id,
            "object": "response",
            "created_at": self.created,
            "completed_at": time.time() if ended else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self.generation.served.name,
            "output": self.items.done,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": params.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": self._usage() if ended else None,
            "windowtax": {"warnings": self.generation.call.warnings},
        }
