"""Requests of all kinds, from a seed: what is asked, whether the client leaves early, and what may come of it."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend
"""
WORDS = _TEXT.split()
CHAT, COMPLETIONS, RESPONSES, MESSAGES = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages",
)  # fmt: skip
OK = frozenset({200})
BUSY = frozenset({429, 503})
"""A server may always say that it has too much to do, if it says so."""
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer", "maximum": 99}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "find_city", "description": "Finds a city", "parameters": CITY}}
BAD: tuple[tuple[str, dict[str, Any], int], ...] = (
    (CHAT, {"temperature": "hot"}, 400),
    (CHAT, {"max_tokens": -1}, 400),
    (CHAT, {"messages": "hello"}, 400),
    (CHAT, {"messages": []}, 400),
    (CHAT, {"n": 0}, 400),
    (CHAT, {"top_p": 7}, 400),
    (CHAT, {"logit_bias": {"x": 1}}, 400),
    (CHAT, {"top_logprobs": 5}, 400),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}}, 400),
    (CHAT, {"structured_outputs": {"regex": "(["}}, 400),
    (CHAT, {"tools": [{"type": "function"}]}, 400),
    (CHAT, {"priority": "high"}, 400),
    (CHAT, {"timeout": -1}, 400),
    (CHAT, {"model": "nobody"}, 404),
    (COMPLETIONS, {"prompt": [-1, 2**40]}, 400),
    (COMPLETIONS, {"prompt": ""}, 400),
    (COMPLETIONS, {"best_of": 3}, 400),
    (COMPLETIONS, {"stop": 5}, 400),
    (MESSAGES, {"max_tokens": 0}, 400),
    (MESSAGES, {"messages": [{"role": "nobody", "content": "x"}]}, 400),
    (RESPONSES, {"input": 7}, 400),
    (RESPONSES, {"max_output_tokens": "many"}, 400),
)
SHARES = {
    "short": 30, "prefixed": 20, "long": 8, "several": 6, "batch": 4, "json": 4, "regex": 3, "tools": 4,
    "messages": 6, "responses": 4, "bad": 6, "too long": 3, "late": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How much is asked of a model: tokens of the window, words of prompts, tokens of answers."""

    window_tokens: int
    short_words: int
    prefix_words: int
    long_tokens: tuple[int, int]
    output_tokens: int
    token_ids: int = 250


@dataclass(frozen=True)
class Plan:
    """One request. statuses: of answers that are right; None of `leave_s` and `leave_events`: the client stays."""

    kind: str
    path: str
    body: dict[str, Any]
    statuses: frozenset[int] = OK
    leave_s: float | None = None
    leave_events: int | None = None

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def leaves(self) -> bool:
        return self.leave_s is not None or self.leave_events is not None


class Mix:
    """Endless plans from a seed. Two of one seed are equal."""

    def __init__(self, scale: Scale, seed: int, leave_share: float = 0.15) -> None:
        self.scale = scale
        self._random = random.Random(seed)
        self._leave_share = leave_share
        self._prefixes = [self._text(scale.prefix_words) for _ in range(4)]

    def __iter__(self) -> Iterator[Plan]:
        while True:
            (kind,) = self._random.choices(list(SHARES), list(SHARES.values()))
            yield self._plan(kind)

    def _plan(self, kind: str) -> Plan:
        path, body, statuses = getattr(self, "_" + kind.replace(" ", "_"))()
        body.setdefault("stream", self._random.random() < 0.5)
        if kind == "bad":
            return Plan(kind, path, body, statuses)
        if self._random.random() < 0.2:
            body["priority"] = self._random.choice((-1, 1, 5))
        if body["stream"] and path in (CHAT, COMPLETIONS) and self._random.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        leave_s = leave_events = None
        if self._random.random() < self._leave_share:
            if body["stream"] and self._random.random() < 0.5:
                leave_events = self._random.randrange(1, 12)
            else:
                leave_s = self._random.expovariate(4.0)
        return Plan(kind, path, body, statuses | BUSY, leave_s, leave_events)

    def _text(self, num_words: int) -> str:
        return " ".join(self._random.choices(WORDS, k=max(1, num_words)))

    def _some(self) -> int:
        return self._random.randrange(1, self.scale.output_tokens + 1)

    def _chat(self, **more: Any) -> tuple[str, dict[str, Any], frozenset[int]]:
        text = self._text(self._random.randrange(1, self.scale.short_words + 1))
        body: dict[str, Any] = {"messages": [{"role": "user", "content": text}], "max_tokens": self._some()}
        if self._random.random() < 0.5:
            body |= {"temperature": self._random.choice((0, 0.7, 1.5)), "top_p": 0.9, "seed": 5}
        return CHAT, body | more, OK

    def _short(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return self._chat(stream=True)

    def _prefixed(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        path, body, statuses = self._chat()
        body["messages"].insert(0, {"role": "system", "content": self._random.choice(self._prefixes)})
        if self._random.random() < 0.2:
            body |= {"logprobs": True, "top_logprobs": 2}
        if self._random.random() < 0.2:
            body |= {"cache_salt": self._random.choice("ab"), "explain_cache": True}
        return path, body, statuses

    def _ids(self, count: int) -> list[int]:
        return [self._random.randrange(5, self.scale.token_ids) for _ in range(count)]

    def _long(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return COMPLETIONS, {"prompt": self._ids(self._random.randint(*self.scale.long_tokens)), "max_tokens": 8}, OK

    def _several(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return self._chat(n=self._random.randrange(2, 5))

    def _batch(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        body: dict[str, Any] = {"prompt": [self._ids(9), self._ids(30), self._ids(2)], "max_tokens": self._some()}
        if self._random.random() < 0.5:
            body |= {"echo": True, "logprobs": 1}
        return COMPLETIONS, body, OK

    def _json(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        schema = {"name": "city", "schema": CITY, "strict": True}
        return self._chat(response_format={"type": "json_schema", "json_schema": schema})

    def _regex(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return self._chat(structured_outputs=self._random.choice(({"regex": "[a-c]{3,9}"}, {"choice": ["yes", "no"]})))

    def _tools(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return self._chat(tools=[TOOL], tool_choice=self._random.choice(("auto", "required")))

    def _messages(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        _, body, statuses = self._chat()
        body.pop("seed", None)
        return MESSAGES, body | {"system": self._random.choice(self._prefixes)}, statuses

    def _responses(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return RESPONSES, {"input": self._text(self.scale.short_words), "max_output_tokens": self._some()}, OK

    def _bad(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        path, wrong, status = self._random.choice(BAD)
        body = {
            CHAT: self._chat()[1],
            COMPLETIONS: {"prompt": "x", "max_tokens": 1},
            RESPONSES: {"input": "x", "max_output_tokens": 1},
            MESSAGES: {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
        }[path]
        return path, body | wrong, frozenset({status})

    def _too_long(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        return COMPLETIONS, {"prompt": self._ids(self.scale.window_tokens + 1), "max_tokens": 1}, frozenset({400})

    def _late(self) -> tuple[str, dict[str, Any], frozenset[int]]:
        path, body, statuses = self._chat(timeout=self._random.choice((0.001, 0.05)))
        return path, body, statuses | {504}
