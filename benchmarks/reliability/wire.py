"""One request over HTTP, and what became of it: tokens, a typed error, a client that left, or a fault."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from benchmarks.reliability.mix import MESSAGES, RESPONSES, Plan

TOKENS, ERROR, LEFT, FAULT, NOT_TAKEN = "tokens", "typed error", "client left", "fault", "not taken"
"""NOT_TAKEN: the connection was refused or closed before anything came back, as a server that ends may do."""
TIMEOUT_S = 180.0


@dataclass
class Outcome:
    """What became of a request. status: 0 where no answer began. code: of an error. why: of a fault.

    ttft_s: from sending to the first event with a token, of streams.
    """

    plan: Plan
    ended: str
    status: int = 0
    code: str = ""
    why: str = ""
    ttft_s: float | None = None
    seconds: float = 0.0


@dataclass
class _Stream:
    """What was read of a stream so far."""

    began: float
    answered: bool = False
    num_events: int = 0
    ttft_s: float | None = None
    error: dict[str, Any] | None = None
    last: str = ""
    finished: set[int] = field(default_factory=set)

    def read(self, line: str) -> None:
        """Takes a line in."""
        if not line.startswith("data: "):
            return
        self.num_events += 1
        self.last = line.removeprefix("data: ")
        if self.last == "[DONE]":
            return
        event = json.loads(self.last)
        self.error = event.get("error") or (event.get("response") or {}).get("error") or self.error
        if self.ttft_s is None and _has_token(event):
            self.ttft_s = time.perf_counter() - self.began
        self.finished |= {choice["index"] for choice in event.get("choices", ()) if choice["finish_reason"]}

    def is_whole(self, plan: Plan) -> bool:
        """Whether it ended as streams of that endpoint must."""
        if plan.path == RESPONSES:
            return json.loads(self.last)["type"] in ("response.completed", "response.incomplete")
        if plan.path == MESSAGES:
            return json.loads(self.last)["type"] == "message_stop"
        return self.last == "[DONE]" and self.finished == set(range(num_choices(plan)))


async def send(client: httpx.AsyncClient, plan: Plan) -> Outcome:
    """Sends a request, leaves where the plan says so, and judges the answer. Raises nothing."""
    began = time.perf_counter()
    limit_s = TIMEOUT_S if plan.leave_s is None else plan.leave_s
    stream = _Stream(began)
    try:
        async with asyncio.timeout(limit_s):
            outcome = await (_streamed if plan.streams else _whole)(client, plan, stream)
    except TimeoutError:
        left = plan.leave_s is not None
        outcome = Outcome(plan, LEFT if left else FAULT, why="" if left else f"no end after {limit_s:.0f} s")
    except (httpx.HTTPError, ValueError, KeyError) as error:
        unheard = isinstance(error, httpx.TransportError) and not stream.answered
        outcome = Outcome(plan, NOT_TAKEN if unheard else FAULT, why=f"{type(error).__name__}: {error}")
    outcome.ttft_s = stream.ttft_s
    outcome.seconds = time.perf_counter() - began
    return outcome


def num_choices(plan: Plan) -> int:
    """How many answers a request wants."""
    prompt = plan.body.get("prompt")
    batch = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], list) else 1
    return batch * plan.body.get("n", 1)


async def _whole(client: httpx.AsyncClient, plan: Plan, _: _Stream) -> Outcome:
    answer = await client.post(plan.path, json=plan.body)
    if answer.status_code != 200:
        return _error(plan, answer.status_code, answer.json().get("error"))
    return _judged(plan, _is_answer(plan, answer.json()), f"not an answer: {answer.text[:200]}")


async def _streamed(client: httpx.AsyncClient, plan: Plan, stream: _Stream) -> Outcome:
    async with client.stream("POST", plan.path, json=plan.body) as answer:
        stream.answered = True
        if answer.status_code != 200:
            return _error(plan, answer.status_code, json.loads(await answer.aread()).get("error"))
        async for line in answer.aiter_lines():
            stream.read(line)
            if plan.leave_events is not None and stream.num_events >= plan.leave_events:
                return Outcome(plan, LEFT, 200)
    if stream.error is not None:
        return _error(plan, 200, stream.error)
    return _judged(plan, stream.is_whole(plan), f"not a whole stream, it ended with {stream.last[:200]!r}")


def _judged(plan: Plan, good: bool, why: str) -> Outcome:
    if not good or 200 not in plan.statuses:
        return Outcome(plan, FAULT, 200, why=why if not good else "an answer where an error was due")
    return Outcome(plan, TOKENS, 200)


def _error(plan: Plan, status: int, error: Any) -> Outcome:
    """An error is typed where it names its type and says something; status 200: it came in the middle of a stream."""
    typed = isinstance(error, dict) and bool(error.get("message")) and bool(error.get("type") or error.get("code"))
    if not typed or (status != 200 and status not in plan.statuses):
        return Outcome(plan, FAULT, status, why=f"status {status}, {json.dumps(error)[:300]}")
    return Outcome(plan, ERROR, status, str(error.get("code") or error.get("type")))


def _is_answer(plan: Plan, body: dict[str, Any]) -> bool:
    if plan.path == RESPONSES:
        return body["status"] in ("completed", "incomplete") and body["usage"]["output_tokens"] > 0
    if plan.path == MESSAGES:
        return bool(body["stop_reason"]) and body["usage"]["output_tokens"] > 0
    ends = [choice["finish_reason"] for choice in body["choices"]]
    return len(ends) == num_choices(plan) and all(ends) and body["usage"]["completion_tokens"] > 0


def _has_token(event: dict[str, Any]) -> bool:
    if "delta" in event:  # Anthropic's and Responses'
        return True
    deltas = [choice.get("delta") or {} for choice in event.get("choices", ())]
    texts = [choice.get("text") or choice["finish_reason"] for choice in event.get("choices", ())]
    return any(texts) or any(delta.get("content") or delta.get("tool_calls") for delta in deltas)
