"""`--normalize`: takes what changes from call to call out of the way of the prefix cache, and says what it did.

Only the system part is touched: the system messages before the first other one. Nothing that a model may need is lost:
what is no mere telemetry is moved to where it breaks less, and every change is told with its text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.server.errors import Json
from windowtax.server.prompts import content_text
from windowtax.server.volatile import BETWEEN, BILLING, BILLING_HEADER, CLOCK, DATE, ID_LINE, IDS, KINDS, TIME, WHEN

DROP, SYSTEM, LAST, HOUR, DAY = "drop", "system", "last", "hour", "day"
PLACES = {
    DROP: "removed",
    SYSTEM: "moved to the end of the system part",
    LAST: "moved to the end of the last message",
    HOUR: "cut to the hour and moved to the end of the system part",
    DAY: "cut to the day and moved to the end of the system part",
}
"""What can be done with a line, and how that is told."""

_USUAL = {BILLING: DROP, DATE: SYSTEM, TIME: LAST, IDS: LAST}
"""A billing header means nothing to a model. A date changes once a day, a time and an id with every call."""
_OWN = "own"
_SYSTEM_ROLES = ("system", "developer")
_WAYS = f"Kinds: {', '.join(KINDS)}, all, or /REGEX/; each with =drop, =system or =last, and time with =hour or =day."


@dataclass(frozen=True, kw_only=True)
class Rule:
    """kind: one of KINDS, or "own". place: one of PLACES."""

    kind: str
    pattern: re.Pattern[str]
    place: str

    def wants(self, found: re.Match[str]) -> bool:
        """Whether a match is of this kind: dates and times have one pattern."""
        if self.kind not in (DATE, TIME):
            return bool(found[0])
        has_time = re.search(CLOCK, found["stamp"]) is not None or found["stamp"].isdecimal()
        return has_time is (self.kind == TIME)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One line that was taken out. message: its place among the messages. text: as it stood. becomes: as it stands now,
    "" where it is gone. to: the message that has it now."""

    kind: str
    place: str
    message: int
    text: str
    becomes: str
    to: int | None

    def record(self, names: Sequence[str] = ()) -> Json:
        """For people. names: of the messages."""
        where = names.__getitem__ if names else "messages[{}]".format
        return {
            "kind": self.kind,
            "from": where(self.message),
            "text": self.text,
            "becomes": self.becomes,
            "to": None if self.to is None else where(self.to),
            "what": PLACES[self.place],
        }


@dataclass(frozen=True)
class Normalizer:
    """The rules, in order. Without any, nothing is ever changed."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def parse(cls, words: Sequence[str]) -> "Normalizer":
        """From what --normalize is given: "billing,date", "time=day", "/^Build: .*$/=last", "all". Raises BadInput."""
        given = [one for word in words for one in ([word] if word.startswith("/") else word.split(","))]
        rules = [rule for one in given for rule in _rules(one.strip())]
        names = [rule.kind for rule in rules if rule.kind != _OWN]
        if len(names) != len(set(names)):
            raise BadInput("--normalize names a kind twice.", _WAYS)
        return cls(tuple(rules))

    def apply(self, messages: Sequence[Json]) -> tuple[list[Json], list[Change]]:
        """The messages as the model shall read them, and what was changed. Raises ApiError 400 for contents without
        text."""
        made = [dict(message) for message in messages]
        count = next((i for i, one in enumerate(made) if one.get("role") not in _SYSTEM_ROLES), len(made))
        last = next((i for i in range(len(made) - 1, count - 1, -1) if made[i].get("role") in ("user", "tool")), None)
        changes: list[Change] = []
        for rule in self.rules:
            for place in range(count):
                text = content_text(made[place].get("content"), f"messages[{place}].content")
                kept, found = _taken(rule, text)
                if found:
                    made[place]["content"] = kept
                    changes += map(partial(_change, rule, place, count - 1, last), found)
        for change in changes:
            if change.to is not None:
                made[change.to]["content"] = _with(made[change.to].get("content"), change.becomes)
        return made, changes


NOTHING = Normalizer()


def logged(changes: Sequence[Json]) -> list[Json]:
    """Changes for the log, which has no prompts: texts of our own kinds, which are dates and ids, and of no other."""
    return [
        one if one["kind"] != _OWN else {name: one[name] for name in ("kind", "from", "to", "what")} for one in changes
    ]


def _rules(word: str) -> Iterator[Rule]:
    if word.startswith("/"):
        pattern, slash, place = word[1:].rpartition("/=")
        if not slash or place not in (DROP, SYSTEM, LAST):
            raise BadInput(f"--normalize {word!r} does not say what to do.", "Write /REGEX/=drop, =system or =last.")
        try:
            yield Rule(kind=_OWN, pattern=re.compile(pattern, re.MULTILINE), place=place)
        except re.error as error:
            raise BadInput(f"--normalize {word!r} is no regular expression: {error}.", _WAYS) from None
        return
    kind, _, place = word.partition("=")
    if kind == "all" and not place:
        for one in KINDS:
            yield from _rules(one)
        return
    allowed = PLACES if kind == TIME else (DROP, SYSTEM, LAST)
    if kind not in KINDS or (place and place not in allowed):
        raise BadInput(f"--normalize {word!r} is not known.", _WAYS)
    pattern = {BILLING: BILLING_HEADER, IDS: ID_LINE}.get(kind, WHEN)
    yield Rule(kind=kind, pattern=pattern, place=place or _USUAL[kind])


def _taken(rule: Rule, text: str) -> tuple[str, list[str]]:
    """A text without what a rule finds, and that. A line that was nothing else goes whole."""
    kept, found, cursor = "", [], 0
    for match in rule.pattern.finditer(text):
        if match.start() < cursor or not rule.wants(match):
            continue
        begin, end = match.start(), match.end()
        while text[end : end + 1] in (" ", "\t"):
            end += 1
        if text[begin - 1 : begin] in ("", "\n") and text[end : end + 1] == "\n":
            end += 1
        kept += text[cursor:begin]
        found.append(match[0].strip())
        cursor = end
    return kept + text[cursor:], found


def _change(rule: Rule, message: int, system: int, last: int | None, text: str) -> Change:
    place, becomes = rule.place, text
    if place == DROP:
        return Change(kind=rule.kind, place=place, message=message, text=text, becomes="", to=None)
    if place in (HOUR, DAY):
        becomes = _coarse(text, place)
        if becomes == text:  # a time without a date has no day, and seconds since 1970 have no hour that can be read
            place = LAST
    to = system if place != LAST or last is None else last
    if to == system and place == LAST:
        place = SYSTEM
    return Change(kind=rule.kind, place=place, message=message, text=text, becomes=becomes, to=to)


def _coarse(text: str, grain: str) -> str:
    """The time in a text cut to the hour, or taken out where a date stands before it."""
    if grain == HOUR:
        return re.sub(r"(\d{1,2}):\d{2}(?::\d{2}(?:[.,]\d+)?)?(?=[ ]?[A-Za-z+\-(.;*]|$)", r"\1:00", text, count=1)
    return re.sub(rf"(?<=[\d)]){BETWEEN}{CLOCK}", "", text, count=1)


def _with(content: Any, line: str) -> Any:
    """A message's content and a line behind it, in whichever shape it came."""
    if isinstance(content, list):
        return [*content, {"type": "text", "text": f"\n\n{line}"}]
    return f"{content}\n\n{line}" if content else line
