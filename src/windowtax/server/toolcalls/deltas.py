"""What an answer turns out to hold while it is generated: thoughts, text, and calls of tools."""

import uuid
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """More of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegin:
    """A call begins. index: which call of this answer."""

    index: int
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the arguments' JSON of the call that is open."""

    index: int
    json: str


Delta = ThoughtDelta | TextDelta | CallBegin | CallArguments


class Reader(Protocol):
    """Turns the text of an answer into deltas as it comes. Nothing of the text is lost, whatever the model writes."""

    def push(self, text: str) -> list[Delta]:
        """What is certain with this text and was not before."""
        ...

    def finish(self) -> list[Delta]:
        """The rest. Call it once."""
        ...


class PlainReader:
    """For requests without tools: all is text."""

    def push(self, text: str) -> list[Delta]:
        """The text."""
        return [TextDelta(text)] if text else []

    def finish(self) -> list[Delta]:
        """Nothing is held back."""
        return []


def new_call_id() -> str:
    """An id that answers of tools refer to."""
    return f"call_{uuid.uuid4().hex[:24]}"


def held_back(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the beginning of a mark."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0
