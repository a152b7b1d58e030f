"""Calls between marks, <tool_call>{...}</tool_call>: the format of Hermes and Qwen models, and of many others."""

from windowtax.server.toolcalls.deltas import Delta, TextDelta, held_back
from windowtax.server.toolcalls.json_call import JsonCall


class MarkedReader:
    """Reads calls that stand between `begin` and `end`. What turns out to be no call is given back as text."""

    def __init__(self, begin: str = "<tool_call>", end: str = "</tool_call>") -> None:
        self._begin, self._end = begin, end
        self._held = ""
        self._call: JsonCall | None = None
        self._closing = False
        self._num_calls = 0

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        self._held += text
        deltas: list[Delta] = []
        while self._turn(deltas):
            pass
        return deltas

    def finish(self) -> list[Delta]:
        """What was held back; a call that never became one is text."""
        text, call = self._held, self._call
        self._held, self._call = "", None
        if call is not None:
            text = "" if call.begun else f"{self._begin}{call.text}{text}"
        elif self._closing:
            text = text.removeprefix(self._end) if text.strip() else ""
        return [TextDelta(text)] if text else []

    def _turn(self, deltas: list[Delta]) -> bool:
        """One piece: of text, of a call, or of a mark. False: more must come first."""
        if self._call is not None:
            return self._in_call(self._call, deltas)
        if self._closing:
            return self._at_end()
        place = self._held.find(self._begin)
        if place >= 0:
            _text(self._held[:place].rstrip(), deltas)
            self._held = self._held[place + len(self._begin) :]
            self._call = JsonCall(self._num_calls)
            return True
        # Blanks before a call belong to nobody, so they wait for what follows them.
        sure = self._held[: len(self._held) - held_back(self._held, self._begin)].rstrip()
        _text(sure, deltas)
        self._held = self._held[len(sure) :]
        return False

    def _in_call(self, call: JsonCall, deltas: list[Delta]) -> bool:
        if not self._held:
            return False
        text, self._held = self._held, ""
        deltas += call.push(text)
        if call.failed:
            _text(self._begin, deltas)
            self._call, self._held = None, call.text
        elif call.done:
            self._num_calls += 1
            self._call, self._held, self._closing = None, call.rest, True
        return bool(self._held) or self._closing

    def _at_end(self) -> bool:
        text = self._held.lstrip()
        if not text or (self._end.startswith(text) and text != self._end):
            return False
        self._held, self._closing = text.removeprefix(self._end), False
        return bool(self._held)


def _text(text: str, deltas: list[Delta]) -> None:
    if text:
        deltas.append(TextDelta(text))
