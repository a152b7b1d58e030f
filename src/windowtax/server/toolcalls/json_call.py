"""One call written as a JSON object, {"name": ..., "arguments": {...}}, read while it is being written."""

import json
import re

from windowtax.server.toolcalls.deltas import CallArguments, CallBegin, Delta, new_call_id

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=[{\[])')
_DECODER = json.JSONDecoder()


class JsonCall:
    """Follows one object. Where name and arguments come in that order, the arguments' text is passed on as it comes.

    done: the object is complete; `rest` is what follows it. failed: this is no call, and `text` is what was read.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = ""
        self.rest = ""
        self.done = self.failed = False
        self.begun = False
        self._passed_on = 0
        self._value: _Value | None = None

    def push(self, text: str) -> list[Delta]:
        """More text; once done, what follows the object is in `rest`."""
        self.text += text
        deltas: list[Delta] = []
        if self._value is None:
            head = _HEAD.match(self.text)
            if head is None:
                return self._whole()
            deltas.append(CallBegin(self.index, new_call_id(), json.loads(head[1])))
            self.begun, self._value, self._passed_on = True, _Value(), head.end()
        if not self._value.done:
            length = self._value.follow(self.text[self._passed_on :])
            if length:
                deltas.append(CallArguments(self.index, self.text[self._passed_on : self._passed_on + length]))
            self._passed_on += length
        if self._value.done:
            end = self.text.find("}", self._passed_on)
            if end >= 0:
                self.done, self.rest = True, self.text[end + 1 :]
        return deltas

    def _whole(self) -> list[Delta]:
        """Waits until the object is complete, for keys in another order or arguments within a string."""
        stripped = self.text.lstrip()
        if stripped and not stripped.startswith("{"):
            self.failed = True
            return []
        try:
            found, end = _DECODER.raw_decode(stripped)
        except ValueError:
            return []  # not complete yet, or never: the caller decides at the end
        name, arguments = found.get("name"), found.get("arguments", found.get("parameters", {}))
        if not isinstance(name, str):
            self.failed = True
            return []
        self.done = self.begun = True
        self.rest = stripped[end:]
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return [CallBegin(self.index, new_call_id(), name), CallArguments(self.index, written)]


class _Value:
    """Follows an object or a list to its end."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._in_string = self._escaped = False

    def follow(self, text: str) -> int:
        """How many of these characters still belong to the value."""
        for place, character in enumerate(text):
            self._see(character)
            if not self._depth:
                self.done = True
                return place + 1
        return len(text)

    def _see(self, character: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_string = False
        elif character == '"':
            self._in_string = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
