"""Calls as FunctionGemma and Gemma 4 write them: call:name{key:value}, with a mark of their own around texts."""

import json
import re
from typing import Any

from windowtax.server.toolcalls.block import BlockReader, Call

_HEAD = re.compile(r"\s*call:([\w.-]+)(?=\{)")
_BARE = re.compile(r"[^,:{}\[\]]*")


def function_gemma_reader() -> BlockReader:
    """<start_function_call>call:f{a:<escape>x<escape>,n:1}<end_function_call>"""
    return BlockReader("<start_function_call>", "<end_function_call>", lambda text: calls_of(text, "<escape>"))


def gemma4_reader() -> BlockReader:
    """<|tool_call>call:f{a:<|"|>x<|"|>,n:1}<tool_call|>"""
    return BlockReader("<|tool_call>", "<tool_call|>", lambda text: calls_of(text, '<|"|>'))


def calls_of(text: str, quote: str) -> list[Call]:
    """The call that a block holds. Raises ValueError where it holds something else."""
    head = _HEAD.match(text)
    if head is None:
        raise ValueError("no call begins")
    values = _Values(text, head.end(), quote)
    try:
        arguments = values.read()
    except RecursionError as error:
        raise ValueError("too deep") from error
    if text[values.place :].strip():
        raise ValueError("something follows")
    return [(head[1], arguments)]


class _Values:
    """Reads a value from `place` on. Raises ValueError where there is none."""

    def __init__(self, text: str, place: int, quote: str) -> None:
        self._text, self.place, self._quote = text, place, quote

    def read(self) -> Any:
        """A text between quotes, an object, a list, or a bare word: a number, true, false, null, or itself."""
        if self._takes(self._quote):
            end = self._text.find(self._quote, self.place)
            if end < 0:
                raise ValueError("a text does not end")
            found, self.place = self._text[self.place : end], end + len(self._quote)
            return found
        if self._takes("{"):
            return self._object()
        if self._takes("["):
            return self._list()
        return self._bare()

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._takes("}"):
            if found:
                self._expect(",")
            key = str(self.read())
            self._expect(":")
            found[key] = self.read()
        return found

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while not self._takes("]"):
            if found:
                self._expect(",")
            found.append(self.read())
        return found

    def _bare(self) -> Any:
        match = _BARE.match(self._text, self.place)
        word = match[0].strip() if match else ""
        if not word:
            raise ValueError("a value is missing")
        self.place += len(match[0]) if match else 0
        try:
            return json.loads(word, parse_constant=str)
        except ValueError:
            return word

    def _takes(self, mark: str) -> bool:
        while self._text[self.place : self.place + 1].isspace():
            self.place += 1
        found = self._text.startswith(mark, self.place)
        self.place += len(mark) if found else 0
        return found

    def _expect(self, mark: str) -> None:
        if not self._takes(mark):
            raise ValueError(f"{mark} is missing")
