"""POST /v1/completions: text in, text out, for base models and for evaluation harnesses."""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import Field

from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.news import Finished, Progress, Text
from windowtax.server.call import Call, call_of
from windowtax.server.chat import StreamOptions
from windowtax.server.conversation import choices, cut
from windowtax.server.errors import ApiError, Json, bad_field
from windowtax.server.fields import PromptLogprobs, SamplingFields, refuse_streamed_scores, refuse_too_many
from windowtax.server.generate import Answer, Ask, Generation
from windowtax.server.grammars import structured_grammar
from windowtax.server.logprobs import prompt_logprobs, text_logprobs
from windowtax.server.openapi import STREAMED
from windowtax.server.served import Served, served_of
from windowtax.server.sse import DONE, KEEP_ALIVE, EventStream, comment, data
from windowtax.server.usage import chat_usage

router = APIRouter()
DEFAULT_MAX_TOKENS = 16
"""OpenAI's, for this endpoint."""
MOST_PROMPTS = 2048


class CompletionRequest(SamplingFields):
    """The body of a completion."""

    model: str | None = None
    prompt: str | list[int] | list[str] | list[list[int]]
    n: int | None = None
    best_of: int | None = None
    max_tokens: int | None = Field(None, ge=0, description="0 computes, and with echo scores, the prompt alone.")
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_progress: bool = False
    echo: bool = False
    suffix: str | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    prompt_logprobs: PromptLogprobs = None
    structured_outputs: dict[str, Any] | None = None
    add_special_tokens: bool = True

    @property
    def scored(self) -> int | None:
        """With how many alternatives the prompt's tokens are scored; None: not at all."""
        asked = [self.prompt_logprobs, self.logprobs if self.echo else None]
        return max((count for count in asked if count is not None), default=None)

    def refuse(self, most: int) -> None:
        """Raises ApiError 400 for combinations that make no sense here."""
        n = 1 if self.n is None else self.n
        refuse_too_many(n, most)
        if self.best_of not in (None, n):
            raise bad_field("best_of", "best_of must equal n: this server gives back every answer that it makes.")
        refuse_streamed_scores(self.prompt_logprobs, self.stream)
        if self.suffix:
            raise bad_field("suffix", "This server does not fill in the middle.", "unsupported")


@router.post("/v1/completions", response_model=None, responses=STREAMED)
async def completions(
    body: CompletionRequest,
    http: Request,
    call: Annotated[Call, Depends(call_of)],
    served: Annotated[Served, Depends(served_of)],
) -> Response:
    """Continues one or several prompts."""
    served.check_model(body.model)
    body.warn_of_unread(call)
    body.refuse(served.settings.max_choices)
    given = await run_in_threadpool(_token_lists, served, body)
    prompts = [cut(served, call, prompt, body) for prompt in given]
    asked = DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens
    for prompt in prompts:
        served.room(len(prompt), asked, "prompt")
    grammar = await run_in_threadpool(structured_grammar, served.grammars, body.structured_outputs)
    params = choices(
        body, 1 if body.n is None else body.n, asked,
        grammar=grammar, logprobs=body.logprobs, prompt_logprobs=body.scored,
    )  # fmt: skip
    ask = Ask(
        endpoint="completions", prompts=prompts, params=params,
        salt=body.cache_salt or "", priority=body.priority, timeout_s=body.timeout,
        explain=body.explain_cache,
    )  # fmt: skip
    generation = Generation(served, call, ask)
    reply = _Reply(generation, body)
    generation.start()
    if body.stream:
        return EventStream(generation, reply.stream(), reply.failed)
    return JSONResponse(reply.whole(await generation.collect(http)))


@dataclass
class _Reply:
    """Writes the answer of one call."""

    generation: Generation
    body: CompletionRequest
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answers: list[Answer]) -> Json:
        """The body of an answer that is not streamed."""
        found = self._head()
        found["choices"] = [self._whole_choice(index, answer) for index, answer in enumerate(answers)]
        found["usage"] = chat_usage(self.generation.bill())
        if self.generation.call.warnings:
            found["windowtax"] = {"warnings": self.generation.call.warnings}
        return found

    async def stream(self) -> AsyncGenerator[str, None]:
        """The events of a streamed answer."""
        lengths = [0] * len(self.generation.tickets)
        async for news in self.generation.news():
            if news is None:
                yield KEEP_ALIVE
            elif isinstance(news, Progress):
                yield self._progress(news)
            elif isinstance(news, Text | Finished):
                if self.body.echo and not lengths[news.index]:
                    # Log-probabilities of the prompt are there when its first token is, or its end.
                    text = self._echoed(news.index)
                    yield self._chunk(news.index, text, logprobs=self._prompt_logprobs(news.index))
                    lengths[news.index] = len(text)
                if isinstance(news, Finished):
                    yield self._chunk(news.index, "", str(news.reason))
                elif news.text or news.logprobs:
                    logprobs = self._logprobs(news.token_ids, news.logprobs, lengths[news.index])
                    yield self._chunk(news.index, news.text, logprobs=logprobs)
                    lengths[news.index] += len(news.text)
        if self._usage_wanted:
            yield data(self._head() | {"choices": [], "usage": chat_usage(self.generation.bill())})
        yield DONE

    def failed(self, error: ApiError) -> str:
        """The last words of a stream that broke off."""
        return data(error.body("/v1/completions", self.generation.call.request_id)) + DONE

    def _head(self) -> Json:
        name = self.generation.call.request_id.removeprefix("req_")
        model = self.generation.served.name
        return {"id": f"cmpl-{name}", "object": "text_completion", "created": self.created, "model": model}

    @property
    def _usage_wanted(self) -> bool:
        return self.body.stream_options is not None and self.body.stream_options.include_usage

    def _whole_choice(self, index: int, answer: Answer) -> Json:
        echoed = self._echoed(index)
        logprobs = self._logprobs(answer.token_ids, answer.logprobs, len(echoed))
        before = self._prompt_logprobs(index) if self.body.echo else None
        if before is not None and logprobs is not None:
            logprobs = {name: [*before[name], *logprobs[name]] for name in logprobs}
        choice = self._choice(index, echoed + answer.text, str(answer.finish_reason), logprobs)
        request = self.generation.tickets[index].request
        if self.body.prompt_logprobs is not None and request is not None:
            tokenizer, num_top = self.generation.served.tokenizer, self.body.prompt_logprobs
            choice["prompt_logprobs"] = prompt_logprobs(tokenizer, request.prompt_logprobs, num_top)
        return choice

    def _choice(self, index: int, text: str, reason: str | None, logprobs: Json | None = None) -> Json:
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _logprobs(self, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob], offset: int) -> Json | None:
        if self.body.logprobs is None:
            return None
        return text_logprobs(self.generation.served.tokenizer, token_ids, logprobs, offset, self.body.logprobs)

    def _prompt_logprobs(self, index: int) -> Json | None:
        request = self.generation.tickets[index].request
        if self.body.logprobs is None or request is None:
            return None
        tokenizer, num_top = self.generation.served.tokenizer, self.body.logprobs
        return text_logprobs(tokenizer, self._prompt(index), request.prompt_logprobs, 0, num_top)

    def _chunk(self, index: int, text: str, reason: str | None = None, logprobs: Json | None = None) -> str:
        chunk = self._head() | {"choices": [self._choice(index, text, reason, logprobs)]}
        if self._usage_wanted:
            every = self.body.stream_options is not None and self.body.stream_options.continuous_usage_stats
            begun = self.generation.tickets[0].request is not None
            chunk["usage"] = chat_usage(self.generation.bill()) if every and begun else None
        return data(chunk)

    def _progress(self, news: Progress) -> str:
        total = len(self._prompt(news.index))
        if not self.body.return_progress:
            return comment(f"prompt {news.num_computed_tokens}/{total}")
        progress = {
            "total": total,
            "cache": news.num_cached_tokens,
            "processed": news.num_computed_tokens,
            "time_ms": round(news.seconds * 1000),
        }
        return data(self._head() | {"choices": [self._choice(news.index, "", None)], "prompt_progress": progress})

    def _prompt(self, index: int) -> list[int]:
        return self.generation.ask.prompts[index // len(self.generation.ask.params)]

    def _echoed(self, index: int) -> str:
        return self.generation.served.tokenizer.decode(self._prompt(index)) if self.body.echo else ""


def _token_lists(served: Served, body: CompletionRequest) -> list[list[int]]:
    """Token ids of every prompt. Raises ApiError 400."""
    prompt: Sequence[Any] | str = body.prompt
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        prompt = [prompt]
    if not 1 <= len(prompt) <= MOST_PROMPTS:
        raise bad_field("prompt", f"{len(prompt):,} prompts; give 1 to {MOST_PROMPTS:,}.")
    return [_token_ids(served, one, body.add_special_tokens) for one in prompt]


def _token_ids(served: Served, prompt: Any, add_special_tokens: bool) -> list[int]:
    if isinstance(prompt, str):
        return served.tokenizer.encode(prompt, add_special_tokens=add_special_tokens)
    return known_ids(served, prompt, "prompt")


def known_ids(served: Served, token_ids: Sequence[int], param: str) -> list[int]:
    """Token ids that the model knows. Raises ApiError 400 for others: they would be looked up outside its tables."""
    size = served.service.engine.model.spec.vocab_size
    unknown = next((token for token in token_ids if not 0 <= token < size), None)
    if unknown is not None:
        raise bad_field(param, f"{param} holds the token id {unknown:,}; this model has 0 to {size - 1:,}.")
    return list(token_ids)
