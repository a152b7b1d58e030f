"""Items of OpenAI's Responses: what comes in as messages, and what goes out while an answer is read."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from windowtax.server.errors import Json, bad_field
from windowtax.server.toolcalls.deltas import CallBegin, Delta, TextDelta


def input_messages(given: str | Sequence[Json]) -> list[Json]:
    """The input as messages. Raises ApiError 400 for items of other sorts than text and function calls."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    found: list[Json] = []
    for place, item in enumerate(given):
        kind = item.get("type", "message")
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
        elif kind != "reasoning":  # templates drop earlier thoughts
            raise bad_field(f"input[{place}]", f"input[{place}] is a {str(kind)[:80]!r}; this server reads text only.")
    if not found:
        raise bad_field("input", "The input is empty.")
    return found


@dataclass
class Items:
    """The output items of one response, and the events that tell of them. done: those that are complete, in order."""

    done: list[Json] = field(default_factory=list)
    _open: Json | None = None

    def events(self, delta: Delta) -> list[Json]:
        """What a delta means: an item may end, another may begin, and it grows."""
        if isinstance(delta, TextDelta):
            begun = [] if self._open is not None and self._open["type"] == "message" else self._begin(_message())
            item = self._item
            item["content"][0]["text"] += delta.text
            return [*begun, self._part("response.output_text.delta", delta=delta.text, logprobs=[])]
        if isinstance(delta, CallBegin):
            return self._begin(_call(delta))
        self._item["arguments"] += delta.json
        return [self._of("response.function_call_arguments.delta", delta=delta.json)]

    def end(self) -> list[Json]:
        """Ends what is open; an answer without anything is an empty message."""
        begun = [] if self._open is not None or self.done else self._begin(_message())
        return [*begun, *self._finish()]

    @property
    def _item(self) -> Json:
        assert self._open is not None
        return self._open

    def _begin(self, item: Json) -> list[Json]:
        ended = self._finish()
        self._open = item
        empty = {**item, "content": []} if item["type"] == "message" else dict(item)
        added = {"type": "response.output_item.added", "output_index": len(self.done), "item": empty}
        if item["type"] != "message":
            return [*ended, added]
        return [*ended, added, self._part("response.content_part.added", part=dict(item["content"][0]))]

    def _finish(self) -> list[Json]:
        if self._open is None:
            return []
        item, index = self._open, len(self.done)
        if item["type"] == "message":
            part = item["content"][0]
            events = [
                self._part("response.output_text.done", text=part["text"], logprobs=[]),
                self._part("response.content_part.done", part=dict(part)),
            ]
        else:
            name, arguments = item["name"], item["arguments"]
            events = [self._of("response.function_call_arguments.done", name=name, arguments=arguments)]
        item["status"] = "completed"
        self.done.append(item)
        self._open = None
        return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]

    def _of(self, kind: str, **more: object) -> Json:
        return {"type": kind, "item_id": self._item["id"], "output_index": len(self.done), **more}

    def _part(self, kind: str, **more: object) -> Json:
        return self._of(kind, content_index=0, **more)


def _message() -> Json:
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    name = f"msg_{uuid.uuid4().hex}"
    return {"id": name, "type": "message", "status": "in_progress", "role": "assistant", "content": [part]}


def _call(begin: CallBegin) -> Json:
    return {
        "id": f"fc_{uuid.uuid4().hex}",
        "type": "function_call",
        "status": "in_progress",
        "call_id": begin.call_id,
        "name": begin.name,
        "arguments": "",
    }
