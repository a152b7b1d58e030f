"""Which part of a request a place in its prompt belongs to: the system message, a tool, message k, or the template."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from windowtax.server.errors import Json

_TO_THE_END = 2**62


@dataclass(frozen=True, kw_only=True)
class PromptParts:
    """Where the parts of a prompt's text begin and end: (name, begin, end), in characters, in order.

    skipped: characters that were cut off the front of that text.
    """

    parts: tuple[tuple[str, int, int], ...] = ()
    skipped: int = 0

    @classmethod
    def of(
        cls, text: str, messages: Sequence[Json], tools: Sequence[Json], names: Sequence[str] = (), skipped: int = 0
    ) -> "PromptParts":
        """Finds the tools and each message's content in the rendered text; what lies between is the template's.

        messages: with plain texts. tools: as templates are given them. names: of the messages, as the client knows
        them; messages[0] and so on unless given.
        """
        parts = [*_tool_parts(text, tools)]
        cursor = 0
        for place, message in enumerate(messages):
            content = message.get("content")
            begin, end = _find(text, content, cursor) if isinstance(content, str) else (-1, -1)
            if begin >= 0:
                cursor = end
                name = names[place] if names else f"messages[{place}]"
                role = message.get("role")
                parts.append((name if name == role else f"{name} ({role})", begin, end))
        return cls(parts=tuple(sorted(parts, key=lambda part: part[1])), skipped=skipped)

    @classmethod
    def whole(cls, name: str = "the prompt") -> "PromptParts":
        """Of a prompt that is one text, or token ids."""
        return cls(parts=((name, 0, _TO_THE_END),))

    def at(self, offset: int) -> str:
        """The name of the part that holds a character, or after which one it comes."""
        offset += self.skipped
        before = "the chat template"
        for name, begin, end in self.parts:
            if begin <= offset < end:
                return name
            if offset < begin:
                break
            before = f"the chat template, after {name}"
        return before


def _find(text: str, content: str, cursor: int) -> tuple[int, int]:
    """Where a content stands from the cursor on; many templates trim it. (-1, -1): nowhere."""
    for words in (content, content.strip()):
        begin = text.find(words, cursor) if words else -1
        if begin >= 0:
            return begin, begin + len(words)
    return -1, -1


def _tool_parts(text: str, tools: Sequence[Json]) -> Iterator[tuple[str, int, int]]:
    """Tools as templates write them: whole or the function alone, on one line or indented; else from name to name."""
    cursor = 0
    for place, tool in enumerate(tools):
        function = tool["function"]
        label = f"tools[{place}] ({function['name']})"
        for thing, indent in ((tool, None), (function, None), (tool, 4), (function, 4), (tool, 2), (function, 2)):
            written = json.dumps(thing, ensure_ascii=False, indent=indent)
            begin = text.find(written, cursor)
            if begin >= 0:
                cursor = begin + len(written)
                yield label, begin, cursor
                break
        else:
            name = json.dumps(function["name"], ensure_ascii=False)
            begin = text.find(name, cursor)
            if begin >= 0:
                cursor = begin + len(name)
                yield label, begin, cursor
