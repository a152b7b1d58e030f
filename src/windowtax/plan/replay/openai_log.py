"""Logs of OpenAI-style calls: one object per line, as a logging proxy or a batch job writes them (docs/replay.md).

Read are: a time (`timestamp`, `created_at`, `created` or `time`: seconds, milliseconds or an ISO date), the prompt
(`messages`, `prompt` or `input`, at the top or under `request` or `body`) and the usage (`usage`, at the top or under
`response`, `response.body`), with prompt_tokens and completion_tokens (or input_tokens and output_tokens). No tokenizer
is needed: the counts come from the usage, and blocks are cut from the prompt's text in pieces of as many characters as
a block of tokens has on average in this file.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.plan.replay.trace import Chains, Line, Trace, TraceRequest, by_arrival, read_lines, shown

LOG_BLOCK_TOKENS = 32
_TIMES = ("timestamp", "created_at", "created", "time")
_PROMPTS = ("messages", "prompt", "input")
_SAMPLE_LINES = 200
_MILLISECONDS_FROM = 1e11
"""As seconds this is the year 5138: larger numbers are milliseconds."""


def read_openai_log(path: Path, block_tokens: int = LOG_BLOCK_TOKENS) -> Trace:
    """Reads the file. Raises BadInput naming line and field."""
    characters = max(1, round(block_tokens * _characters_per_token(path)))
    chains, requests, without_text, told_cached = Chains(), list[TraceRequest](), 0, 0
    for line in read_lines(path):
        prompt, output, cached = _usage(line)
        text = _prompt_text(line)
        without_text += text is None
        told_cached += cached
        pieces = _pieces(text or "", characters, prompt // block_tokens)
        requests.append(TraceRequest(_time_s(line), prompt, max(1, output), chains.name(pieces), line.number))
    ordered, was_unordered = by_arrival(requests)
    total = sum(request.num_prompt_tokens for request in ordered)
    notes = [
        f"Blocks of {block_tokens} tokens are cut as {characters} characters, this file's mean: hits are estimates."
    ]
    if told_cached:
        notes.append(f"The log itself reports {told_cached:,} cached prompt tokens, {told_cached / total:.1%} of all.")
    if without_text:
        notes.append(f"{without_text:,} requests have no prompt text: they find nothing in a prefix cache.")
    if was_unordered:
        notes.append("The file is not in order of time: requests were sorted by arrival.")
    return Trace(
        name=path.name,
        format="openai-log",
        requests=ordered,
        block_tokens=block_tokens,
        num_keys=len(chains),
        notes=tuple(notes),
    )


def _characters_per_token(path: Path) -> float:
    """Measured over the first lines that have a text and a usage."""
    characters = tokens = seen = 0
    for line in read_lines(path):
        seen += 1
        text = _prompt_text(line)
        if text is not None:
            characters += len(text)
            tokens += _usage(line)[0]
        if seen >= _SAMPLE_LINES:
            break
    if not seen:
        raise BadInput(f"{path.name} holds no requests.")
    return characters / tokens if tokens else 1.0


def _pieces(text: str, characters: int, most: int) -> Iterator[str]:
    """The first `most` whole pieces of the text."""
    for index in range(min(most, len(text) // characters)):
        yield text[index * characters : (index + 1) * characters]


def _usage(line: Line) -> tuple[int, int, int]:
    """Prompt tokens, output tokens, and the prompt tokens that the server said it found cached."""
    usage = _usage_object(line)
    prompt = usage.whole("prompt_tokens" if "prompt_tokens" in usage else "input_tokens", 1)
    output = usage.whole("completion_tokens" if "completion_tokens" in usage else "output_tokens", 0)
    for name in ("prompt_tokens_details", "input_tokens_details"):
        if name in usage:
            details = usage.inside(name)
            return prompt, output, details.whole("cached_tokens", 0) if "cached_tokens" in details else 0
    return prompt, output, 0


def _usage_object(line: Line) -> Line:
    if "usage" in line:
        return line.inside("usage")
    if isinstance(line.raw("response"), dict):
        response = line.inside("response")
        if isinstance(response.raw("body"), dict):
            response = response.inside("body")
        return response.inside("usage")
    raise line.error("usage", "is missing.", "Token counts are needed: log the response's `usage` object.")


def _prompt_text(line: Line) -> str | None:
    """The prompt as one string, in which equal beginnings are equal prefixes; tools first, as chat templates do."""
    places = [line, *(line.inside(name) for name in ("request", "body") if isinstance(line.raw(name), dict))]
    for place in places:
        for field in _PROMPTS:
            if field in place:
                tools = _text(place.raw("tools")) if "tools" in place else ""
                return tools + _text(place.raw(field))
    return None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_message(part) for part in cast("list[Any]", value))
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _message(part: Any) -> str:
    """A message as its role and its text; anything else as a line of canonical JSON."""
    if isinstance(part, dict):
        message = cast("dict[str, Any]", part)
        if isinstance(message.get("role"), str) and isinstance(message.get("content"), str) and len(message) == 2:
            return f"<{message['role']}>{message['content']}"
    return json.dumps(part, sort_keys=True, ensure_ascii=False) + "\n"


def _time_s(line: Line) -> float:
    """Seconds. Raises BadInput where no time is there, or none that can be read."""
    for place in _time_places(line):
        for field in _TIMES:
            if field not in place:
                continue
            value = place.raw(field)
            if isinstance(value, str):
                return _iso_s(place, field, value)
            seconds = place.number_of(field)
            return seconds / 1e3 if seconds >= _MILLISECONDS_FROM else seconds
    raise line.error(_TIMES[0], "is missing.", f"A request needs a time: one of {', '.join(_TIMES)}.")


def _time_places(line: Line) -> Iterator[Line]:
    yield line
    for name in ("request", "response"):
        if isinstance(line.raw(name), dict):
            inner = line.inside(name)
            yield inner
            if isinstance(inner.raw("body"), dict):
                yield inner.inside("body")


def _iso_s(line: Line, field: str, value: str) -> float:
    try:
        when = datetime.fromisoformat(value)
    except ValueError as error:
        problem = f"is {shown(value)}; a number or an ISO date was expected."
        raise line.error(field, problem, "Write 2026-11-22T01:30:00Z, or seconds since 1970.") from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
