"""Calls that are the whole answer: Llama 3 writes {"name": ..., "parameters": {...}}, several with ; between them."""

from windowtax.server.toolcalls.deltas import Delta, TextDelta
from windowtax.server.toolcalls.json_call import JsonCall

_BETWEEN = "; \n\t,"
_TAG = "<|python_tag|>"


class BareReader:
    """An answer that begins with a brace is read as calls; any other is text."""

    def __init__(self) -> None:
        self._held = ""
        self._call: JsonCall | None = None
        self._is_text = False
        self._num_calls = 0

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        if self._is_text:
            return [TextDelta(text)] if text else []
        self._held += text
        deltas: list[Delta] = []
        while self._held and not self._is_text:
            if self._call is None and not self._begin_call():
                break
            assert self._call is not None or self._is_text
            if self._call is not None:
                deltas += self._go_on(self._call)
        if self._is_text and self._held:
            deltas.append(TextDelta(self._held))
            self._held = ""
        return deltas

    def finish(self) -> list[Delta]:
        """What was held back; a call that never became one is text."""
        text, call = self._held, self._call
        if call is not None:
            text = "" if call.begun else call.text + text
        elif self._num_calls:
            text = text.strip(_BETWEEN)
        self._held, self._call = "", None
        return [TextDelta(text)] if text else []

    def _begin_call(self) -> bool:
        start = self._held.lstrip(_BETWEEN if self._num_calls else None)
        if not start or (_TAG.startswith(start) and start != _TAG):
            return False
        start = start.removeprefix(_TAG).lstrip()
        if start.startswith("{"):
            self._held, self._call = start, JsonCall(self._num_calls)
        elif start:
            self._is_text = True
        return bool(start)

    def _go_on(self, call: JsonCall) -> list[Delta]:
        text, self._held = self._held, ""
        deltas = call.push(text)
        if call.failed:
            self._call, self._is_text, self._held = None, True, call.text
        elif call.done:
            self._num_calls += 1
            self._call, self._held = None, call.rest
        return deltas
