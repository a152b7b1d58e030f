"""Calls that can only be read once they are complete, between marks of their own; the arguments come as one piece."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from windowtax.server.toolcalls.deltas import CallArguments, CallBegin, Delta, TextDelta, held_back, new_call_id

Call = tuple[str, dict[str, Any]]
"""A function's name and its arguments."""
Parse = Callable[[str], Sequence[Call]]
"""The calls that a text holds. Raises ValueError where it holds something else."""


class BlockReader:
    """Reads calls from what stands between `begin` and `end`. What turns out to be no call is given back as text."""

    def __init__(self, begin: str, end: str, parse: Parse) -> None:
        self._begin, self._end, self._parse = begin, end, parse
        self._held = ""
        self._within = False
        self._num_calls = 0

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        self._held += text
        deltas: list[Delta] = []
        while self._turn(deltas):
            pass
        return deltas

    def finish(self) -> list[Delta]:
        """What was held back: a block may end with the answer."""
        text, self._held = self._held, ""
        if not self._within:
            return [TextDelta(text)] if text.strip() or (not self._num_calls and text) else []
        self._within = False
        return self.calls(text) or [TextDelta(self._begin + text)]

    def calls(self, text: str) -> list[Delta]:
        """The calls in a block's text; none where it is something else."""
        try:
            calls = [(name, _json(arguments)) for name, arguments in self._parse(text)]
        except ValueError:
            return []
        found: list[Delta] = []
        for name, written in calls:
            found += [CallBegin(self._num_calls, new_call_id(), name), CallArguments(self._num_calls, written)]
            self._num_calls += 1
        return found

    def _turn(self, deltas: list[Delta]) -> bool:
        mark = self._end if self._within else self._begin
        place = self._held.find(mark)
        if place < 0:
            if not self._within:
                # Blanks before a call belong to nobody, so they wait for what follows them.
                sure = self._held[: len(self._held) - held_back(self._held, mark)].rstrip()
                self._give(sure, deltas)
                self._held = self._held[len(sure) :]
            return False
        before, self._held = self._held[:place], self._held[place + len(mark) :]
        if self._within:
            deltas += self.calls(before) or [TextDelta(self._begin + before + mark)]
        else:
            self._give(before.rstrip(), deltas)
        self._within = not self._within
        return True

    def _give(self, text: str, deltas: list[Delta]) -> None:
        if text:
            deltas.append(TextDelta(text))


def _json(arguments: dict[str, Any]) -> str:
    """Raises ValueError for numbers that JSON does not have."""
    return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
