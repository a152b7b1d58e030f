"""Items of OpenAI's Responses: what comes in as messages, and what goes out while an answer is read."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from windowtax.server.errors import Json, bad_field
from windowtax.server.toolcalls.deltas import CallArguments, CallBegin, Delta, ThoughtDelta

_TEXTS = {"message": "output_text", "reasoning": "reasoning_text"}
"""Items of text, and what their only part is called."""


def input_messages(given: str | Sequence[Json]) -> list[Json]:
    """The input as messages. Raises ApiError 400 for items of other sorts than text and function calls."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    found: list[Json] = []
    thoughts: Json = {}
    for place, item in enumerate(given):
        kind = item.get("type", "message")
        if kind == "reasoning":
            thoughts = {"reasoning_content": _thoughts(item)}
            continue
        if kind == "message":
            found.append({"role": item.get("role"), "content": item.get("content")})
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments", "{}")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            if found and found[-1]["role"] == "assistant":
                found[-1].setdefault("tool_calls", []).append(call)
            else:
                found.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif kind == "function_call_output":
            found.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")})
        else:
            raise bad_field(f"input[{place}]", f"input[{place}] is a {str(kind)[:80]!r}; this server reads text only.")
        if found[-1]["role"] == "assistant":
            found[-1] |= thoughts
        thoughts = {}
    if not found:
        raise bad_field("input", "The input is empty.")
    return found


def _thoughts(item: Json) -> str:
    parts = item.get("content")
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return "".join(text for text in texts if isinstance(text, str))


@dataclass
class Items:
    """The output items of one response, and the events that tell of them. done: those that are complete, in order."""

    done: list[Json] = field(default_factory=list)
    _open: Json | None = None

    def events(self, delta: Delta) -> list[Json]:
        """What a delta means: an item may end, another may begin, and it grows."""
        if isinstance(delta, CallBegin):
            return self._begin(_call(delta))
        if isinstance(delta, CallArguments):
            self._item["arguments"] += delta.json
            return [self._of("response.function_call_arguments.delta", delta=delta.json)]
        kind, make = ("reasoning", _reasoning) if isinstance(delta, ThoughtDelta) else ("message", _message)
        begun = [] if self._open is not None and self._open["type"] == kind else self._begin(make())
        self._item["content"][0]["text"] += delta.text
        return [*begun, self._text("delta", delta=delta.text)]

    def end(self) -> list[Json]:
        """Ends what is open; an answer without anything but thoughts has an empty message."""
        kinds = {item["type"] for item in (*self.done, self._open or {"type": "reasoning"})}
        begun = [] if kinds - {"reasoning"} else self._begin(_message())
        return [*begun, *self._finish()]

    @property
    def _item(self) -> Json:
        assert self._open is not None
        return self._open

    def _begin(self, item: Json) -> list[Json]:
        ended = self._finish()
        self._open = item
        empty = {**item, "content": []} if item["type"] in _TEXTS else dict(item)
        added = {"type": "response.output_item.added", "output_index": len(self.done), "item": empty}
        if item["type"] not in _TEXTS:
            return [*ended, added]
        return [*ended, added, self._part("response.content_part.added", part=dict(item["content"][0]))]

    def _finish(self) -> list[Json]:
        if self._open is None:
            return []
        item, index = self._open, len(self.done)
        if item["type"] in _TEXTS:
            part = item["content"][0]
            events = [self._text("done", text=part["text"]), self._part("response.content_part.done", part=dict(part))]
        else:
            name, arguments = item["name"], item["arguments"]
            events = [self._of("response.function_call_arguments.done", name=name, arguments=arguments)]
        item["status"] = "completed"
        self.done.append(item)
        self._open = None
        return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]

    def _of(self, kind: str, **more: object) -> Json:
        return {"type": kind, "item_id": self._item["id"], "output_index": len(self.done), **more}

    def _text(self, what: str, **more: object) -> Json:
        """An event about the text of the open item."""
        name = _TEXTS[self._item["type"]]
        logprobs = {"logprobs": []} if name == "output_text" else {}
        return self._part(f"response.{name}.{what}", **more, **logprobs)

    def _part(self, kind: str, **more: object) -> Json:
        return self._of(kind, content_index=0, **more)


def _message() -> Json:
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    name = f"msg_{uuid.uuid4().hex}"
    return {"id": name, "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _reasoning() -> Json:
    part = {"type": "reasoning_text", "text": ""}
    return {
        "id": f"rs_{uuid.uuid4().hex}",
        "type": "reasoning",
        "status": "in_progress",
        "summary": [],
        "content": [part],
    }


def _call(begin: CallBegin) -> Json:
    return {
        "id": f"fc_{uuid.uuid4().hex}",
        "type": "function_call",
        "status": "in_progress",
        "call_id": begin.call_id,
        "name": begin.name,
        "arguments": "",
    }
