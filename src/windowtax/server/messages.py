"""POST /v1/messages and /v1/messages/count_tokens, as Anthropic documents them."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from windowtax.engine.news import Finished, Progress, Text
from windowtax.engine.request import FinishReason
from windowtax.server.anthropic_chat import conversation_of
from windowtax.server.call import Call, call_of
from windowtax.server.chat import gathered
from windowtax.server.conversation import Prepared, normalized, prepare, tokenize
from windowtax.server.errors import ApiError, Json
from windowtax.server.fields import Body, SamplingFields
from windowtax.server.generate import Answer, Generation
from windowtax.server.openapi import STREAMED, AnthropicMessage
from windowtax.server.reasoning import thought_text
from windowtax.server.served import Served, served_of
from windowtax.server.sse import EventStream, comment, named
from windowtax.server.toolcalls.deltas import CallArguments, CallBegin, Delta, TextDelta, ThoughtDelta
from windowtax.server.usage import messages_usage

router = APIRouter()
_PATH = "/v1/messages"


class CountRequest(Body):
    """What of a message makes its prompt."""

    model: str | None = None
    messages: list[AnthropicMessage] = Field(min_length=1)
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


class MessagesRequest(CountRequest, SamplingFields):
    """The body of a message."""

    max_tokens: int = Field(ge=1)
    stop_sequences: list[str] | None = None
    stream: bool = False
    output_config: dict[str, Any] | None = None


@router.post("/v1/messages", response_model=None, responses=STREAMED)
async def messages(
    body: MessagesRequest,
    http: Request,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> Response:
    """Answers a chat in Anthropic's shape, whole or as a stream."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    if body.thinking is not None and body.thinking.get("type") != "disabled" and served.thoughts is None:
        call.warn("thinking has no effect: this model's template knows of none.")
    body.stop = body.stop_sequences or body.stop
    conversation = conversation_of(
        body.messages, body.system, body.tools, body.tool_choice, body.output_config, body.thinking
    )
    prepared = await prepare(served, call, conversation, body, endpoint="messages", max_tokens=body.max_tokens)
    generation = Generation(served, call, prepared.ask)
    reply = _Reply(generation, prepared)
    generation.start()
    if body.stream:
        return EventStream(generation, reply.stream(), reply.failed)
    answers = await generation.collect(http)
    return JSONResponse(reply.whole(answers[0]))


@router.post("/v1/messages/count_tokens")
async def count_tokens(
    body: CountRequest,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> dict[str, int]:
    """How many tokens the prompt of a message has; exact, since the model's own tokenizer counts."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    conversation = conversation_of(body.messages, body.system, body.tools, body.tool_choice, None, body.thinking)
    conversation, _ = await run_in_threadpool(normalized, served, conversation)
    _, prompt_ids = await run_in_threadpool(tokenize, served, conversation)
    return {"input_tokens": len(prompt_ids)}


@dataclass
class _Reply:
    """Writes the answer of one call. block: the index of the content block that is open in a stream; -1: none yet."""

    generation: Generation
    prepared: Prepared
    block: int = -1
    kind: str = field(default="", init=False)
    called: bool = field(default=False, init=False)

    def whole(self, answer: Answer) -> Json:
        """The body of an answer that is not streamed."""
        reader = self.prepared.reader()
        thoughts, deltas = thought_text([*reader.push(answer.text), *reader.finish()])
        text, calls = gathered(deltas)
        content: list[Json] = [{"type": "thinking", "thinking": thoughts, "signature": ""}] if thoughts else []
        content += [{"type": "text", "text": text}] if text or not calls else []
        content += [
            {"type": "tool_use", "id": _tool_id(one["id"]), "name": one["function"]["name"], "input": _input(one)}
            for one in calls
        ]
        assert answer.finish_reason is not None
        reason, stop = self._reason(answer.finish_reason, bool(calls))
        message = self._head() | {"content": content, "stop_reason": reason, "stop_sequence": stop}
        message["usage"] = messages_usage(self.generation.bill())
        if self.generation.call.warnings:
            message["windowtax"] = {"warnings": self.generation.call.warnings}
        return message

    async def stream(self) -> AsyncGenerator[str, None]:
        """The events of a streamed answer."""
        usage = {
            "input_tokens": len(self.prepared.prompt_ids),
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "output_tokens": 0,
        }
        head = self._head() | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        yield named({"type": "message_start", "message": head})
        yield named({"type": "ping"})
        reader = self.prepared.reader()
        async for news in self.generation.news():
            deltas: list[Delta] = []
            if news is None:
                yield named({"type": "ping"})
            elif isinstance(news, Progress):
                yield comment(f"prompt {news.num_computed_tokens}/{len(self.prepared.prompt_ids)}")
            elif isinstance(news, Text):
                deltas = reader.push(news.text)
            elif isinstance(news, Finished):
                deltas = reader.finish()
            for delta in deltas:
                for event in self._events(delta):
                    yield event
            if isinstance(news, Finished):
                for event in self._end(news.reason):
                    yield event

    def failed(self, error: ApiError) -> str:
        """The last words of a stream that broke off."""
        return named(error.body(_PATH, self.generation.call.request_id))

    def _head(self) -> Json:
        name = self.generation.call.request_id.removeprefix("req_")
        return {"id": f"msg_{name}", "type": "message", "role": "assistant", "model": self.generation.served.name}

    def _events(self, delta: Delta) -> list[str]:
        if isinstance(delta, CallBegin):
            block = {"type": "tool_use", "id": _tool_id(delta.call_id), "name": delta.name, "input": {}}
            self.called = True
            return [*self._close(), *self._open("tool_use", block)]
        opened = []
        if isinstance(delta, ThoughtDelta):
            if self.kind != "thinking":
                block = {"type": "thinking", "thinking": "", "signature": ""}
                opened = [*self._close(), *self._open("thinking", block)]
            change: Json = {"type": "thinking_delta", "thinking": delta.text}
        elif isinstance(delta, TextDelta):
            if self.kind != "text":
                opened = [*self._close(), *self._open("text", {"type": "text", "text": ""})]
            change = {"type": "text_delta", "text": delta.text}
        else:
            assert isinstance(delta, CallArguments)
            change = {"type": "input_json_delta", "partial_json": delta.json}
        return [*opened, self._change(change)]

    def _change(self, change: Json) -> str:
        return named({"type": "content_block_delta", "index": self.block, "delta": change})

    def _open(self, kind: str, block: Json) -> list[str]:
        self.block, self.kind = self.block + 1, kind
        return [named({"type": "content_block_start", "index": self.block, "content_block": block})]

    def _close(self) -> list[str]:
        # Nothing is signed here; clients want to be told so before the block ends.
        signed = [self._change({"type": "signature_delta", "signature": ""})] if self.kind == "thinking" else []
        return [*signed, named({"type": "content_block_stop", "index": self.block})] if self.kind else []

    def _end(self, finish: FinishReason) -> list[str]:
        opened = [] if self.kind else self._open("text", {"type": "text", "text": ""})
        reason, stop = self._reason(finish, self.called)
        delta = {"stop_reason": reason, "stop_sequence": stop}
        usage = messages_usage(self.generation.bill())
        return [
            *opened,
            *self._close(),
            named({"type": "message_delta", "delta": delta, "usage": usage}),
            named({"type": "message_stop"}),
        ]

    def _reason(self, finish: FinishReason, called: bool) -> tuple[str, str | None]:
        """stop_reason and stop_sequence."""
        if finish is FinishReason.LENGTH:
            return "max_tokens", None
        request = self.generation.requests[0]
        if request.decoder is not None and request.decoder.stopped is not None:
            return "stop_sequence", request.decoder.stopped
        return ("tool_use" if called else "end_turn"), None


def _tool_id(call_id: str) -> str:
    return f"toolu_{call_id.removeprefix('call_')}"


def _input(call: Mapping[str, Any]) -> Any:
    """The arguments as an object; where the model wrote no JSON, its text under a name that says so."""
    written = call["function"]["arguments"]
    try:
        return json.loads(written)
    except ValueError:
        return {"invalid_json": written}
