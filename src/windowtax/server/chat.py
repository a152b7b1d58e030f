"""POST /v1/chat/completions, as OpenAI documents it and vLLM and llama.cpp extend it."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.news import Finished, Progress, Text
from windowtax.server.call import Call, call_of
from windowtax.server.conversation import Conversation, Prepared, chosen_tool, functions, prepare, response_schema
from windowtax.server.errors import ApiError, Json, bad_field
from windowtax.server.fields import PromptLogprobs, SamplingFields, refuse_streamed_scores, refuse_too_many
from windowtax.server.generate import Answer, Generation
from windowtax.server.logprobs import chat_logprobs, prompt_logprobs
from windowtax.server.openapi import STREAMED, ChatMessage
from windowtax.server.reasoning import thought_text
from windowtax.server.served import Served, served_of
from windowtax.server.sse import DONE, KEEP_ALIVE, EventStream, comment, data
from windowtax.server.toolcalls.deltas import CallArguments, CallBegin, Delta, TextDelta, ThoughtDelta
from windowtax.server.usage import chat_usage

router = APIRouter()


class StreamOptions(BaseModel):
    """What else a stream carries."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class ChatRequest(SamplingFields):
    """The body of a chat completion."""

    model: str | None = None
    messages: list[ChatMessage] = Field(min_length=1)
    n: int | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_progress: bool = False
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    prompt_logprobs: PromptLogprobs = None
    chat_template_kwargs: dict[str, Any] | None = None
    documents: list[dict[str, Any]] | None = None
    reasoning_effort: str | None = None

    def conversation(self) -> Conversation:
        """Messages and tools. Raises ApiError 400."""
        tools = functions(self.tools)
        variables = dict(self.chat_template_kwargs or {})
        for name in ("documents", "reasoning_effort"):
            value = getattr(self, name)
            if value is not None:
                variables.setdefault(name, value)
        return Conversation(
            messages=self.messages,
            tools=tools,
            tool_choice=chosen_tool(self.tool_choice, tools),
            several_calls=self.parallel_tool_calls is not False,
            schema=response_schema(self.response_format),
            structured=self.structured_outputs,
            variables=variables,
        )

    def num_logprobs(self) -> int | None:
        """How many alternatives to each token are wanted; None: no log-probabilities at all."""
        if self.top_logprobs is not None and not self.logprobs:
            raise bad_field("top_logprobs", "top_logprobs needs logprobs: true.")
        return (self.top_logprobs or 0) if self.logprobs else None


@router.post("/v1/chat/completions", response_model=None, responses=STREAMED)
async def chat_completions(
    body: ChatRequest,
    http: Request,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> Response:
    """Answers a chat, whole or as a stream."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    refuse_too_many(1 if body.n is None else body.n, served.settings.max_choices)
    refuse_streamed_scores(body.prompt_logprobs, body.stream)
    max_tokens = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    prepared = await prepare(
        served, call, body.conversation(), body,
        endpoint="chat", max_tokens=max_tokens, n=1 if body.n is None else body.n, logprobs=body.num_logprobs(),
        prompt_logprobs=body.prompt_logprobs,
    )  # fmt: skip
    generation = Generation(served, call, prepared.ask)
    reply = _Reply(generation, prepared, body)
    generation.start()
    if body.stream:
        return EventStream(generation, reply.stream(), reply.failed)
    answers = await generation.collect(http)
    return JSONResponse(reply.whole(answers))


@dataclass
class _Reply:
    """Writes the answer of one call."""

    generation: Generation
    prepared: Prepared
    body: ChatRequest
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self._id = f"chatcmpl-{self.generation.call.request_id.removeprefix('req_')}"
        self._readers = [self.prepared.reader() for _ in self.prepared.params]
        self._called = [False] * len(self.prepared.params)

    def whole(self, answers: list[Answer]) -> Json:
        """The body of an answer that is not streamed."""
        found = self._head("chat.completion")
        found["choices"] = [self._choice(index, answer) for index, answer in enumerate(answers)]
        found["usage"] = self._usage()
        request = self.generation.tickets[0].request
        if self.body.prompt_logprobs is not None and request is not None:
            tokenizer, num_top = self.generation.served.tokenizer, self.body.prompt_logprobs
            found["prompt_logprobs"] = prompt_logprobs(tokenizer, request.prompt_logprobs, num_top)
        if self.generation.call.warnings:
            found["windowtax"] = {"warnings": self.generation.call.warnings}
        return found

    async def stream(self) -> AsyncGenerator[str, None]:
        """The events of a streamed answer."""
        for index in range(len(self.prepared.params)):
            yield self._chunk(index, {"role": "assistant", "content": ""})
        async for news in self.generation.news():
            if news is None:
                yield KEEP_ALIVE
            elif isinstance(news, Progress):
                yield self._progress(news)
            elif isinstance(news, Text):
                for chunk in self._text(news):
                    yield chunk
            elif isinstance(news, Finished):
                for delta in self._readers[news.index].finish():
                    yield self._chunk(news.index, self._delta(news.index, delta))
                yield self._chunk(news.index, {}, self._reason(news.index, str(news.reason)))
        if self._usage_wanted:
            yield data(self._head("chat.completion.chunk") | {"choices": [], "usage": self._usage()})
        yield DONE

    def _text(self, news: Text) -> Iterator[str]:
        """Chunks of what a text turned out to hold; log-probabilities ride on the first, or on one of their own."""
        deltas = [self._delta(news.index, delta) for delta in self._readers[news.index].push(news.text)]
        if news.logprobs and not deltas:
            deltas = [{"content": ""}]
        for place, delta in enumerate(deltas):
            yield self._chunk(news.index, delta, logprobs=() if place else news.logprobs)

    def failed(self, error: ApiError) -> str:
        """The last words of a stream that broke off."""
        return data(error.body("/v1/chat/completions", self.generation.call.request_id)) + DONE

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self.created, "model": self.generation.served.name}

    @property
    def _usage_wanted(self) -> bool:
        return self.body.stream_options is not None and self.body.stream_options.include_usage

    def _usage(self) -> Json:
        return chat_usage(self.generation.bill(), self.prepared.thought_tokens(self.generation))

    def _chunk(self, index: int, delta: Json, reason: str | None = None, logprobs: Sequence[TokenLogprob] = ()) -> str:
        choice: Json = {"index": index, "delta": delta, "logprobs": self._logprobs(logprobs), "finish_reason": reason}
        chunk = self._head("chat.completion.chunk") | {"choices": [choice]}
        if self._usage_wanted:
            every = self.body.stream_options is not None and self.body.stream_options.continuous_usage_stats
            chunk["usage"] = self._usage() if every and self.generation.tickets[0].request is not None else None
        return data(chunk)

    def _progress(self, news: Progress) -> str:
        total = len(self.prepared.prompt_ids)
        if not self.body.return_progress:
            return comment(f"prompt {news.num_computed_tokens}/{total}")
        progress = {
            "total": total,
            "cache": news.num_cached_tokens,
            "processed": news.num_computed_tokens,
            "time_ms": round(news.seconds * 1000),
        }
        choice: Json = {"index": news.index, "delta": {}, "logprobs": None, "finish_reason": None}
        return data(self._head("chat.completion.chunk") | {"choices": [choice], "prompt_progress": progress})

    def _delta(self, index: int, delta: Delta) -> Json:
        if isinstance(delta, ThoughtDelta):
            return {"reasoning_content": delta.text}
        if isinstance(delta, TextDelta):
            return {"content": delta.text}
        if isinstance(delta, CallArguments):
            return {"tool_calls": [{"index": delta.index, "function": {"arguments": delta.json}}]}
        self._called[index] = True
        function = {"name": delta.name, "arguments": ""}
        return {"tool_calls": [{"index": delta.index, "id": delta.call_id, "type": "function", "function": function}]}

    def _choice(self, index: int, answer: Answer) -> Json:
        reader = self._readers[index]
        thoughts, deltas = thought_text([*reader.push(answer.text), *reader.finish()])
        text, calls = gathered(deltas)
        self._called[index] = bool(calls)
        message: Json = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if thoughts:
            message["reasoning_content"] = thoughts
        if calls:
            message["tool_calls"] = calls
        reason = self._reason(index, str(answer.finish_reason))
        logprobs = self._logprobs(answer.logprobs)
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> Json | None:
        return chat_logprobs(self.generation.served.tokenizer, logprobs) if logprobs else None

    def _reason(self, index: int, reason: str) -> str:
        return "tool_calls" if self._called[index] and reason == "stop" else reason


def gathered(deltas: list[Delta]) -> tuple[str, list[Json]]:
    """The text, and the calls in OpenAI's shape, of a whole answer without its thoughts."""
    text, calls = "", list[Json]()
    for delta in deltas:
        if isinstance(delta, TextDelta):
            text += delta.text
        elif isinstance(delta, CallBegin):
            function = {"name": delta.name, "arguments": ""}
            calls.append({"id": delta.call_id, "type": "function", "function": function})
        elif isinstance(delta, CallArguments):
            calls[delta.index]["function"]["arguments"] += delta.json
    return text, calls
