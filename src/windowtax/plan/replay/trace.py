"""A trace: when requests came, how long they were, and which of their blocks are the same. And reading one."""

import json
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput

_SHOWN = 60
_DENSE_FROM = 100_000


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request. arrival_s counts from the trace's first request.

    keys: its prompt's whole blocks of `Trace.block_tokens` tokens; equal numbers mean equal prefixes. line: where it
    stands in the file. num_output_tokens is at least 1: a model that has read a prompt has sampled a token.
    """

    arrival_s: float
    num_prompt_tokens: int
    num_output_tokens: int
    keys: "array[int]"
    line: int

    @property
    def num_tokens(self) -> int:
        """Prompt and output."""
        return self.num_prompt_tokens + self.num_output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests by arrival. block_tokens: tokens per key. num_keys: keys are 0 ... num_keys - 1. notes: what the reader

    had to assume, for the report.
    """

    name: str
    format: str
    requests: tuple[TraceRequest, ...]
    block_tokens: int
    num_keys: int
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last one."""
        return self.requests[-1].arrival_s if self.requests else 0.0

    @property
    def num_prompt_tokens(self) -> int:
        """Of all requests."""
        return sum(request.num_prompt_tokens for request in self.requests)

    @property
    def num_output_tokens(self) -> int:
        """Of all requests."""
        return sum(request.num_output_tokens for request in self.requests)

    @property
    def longest(self) -> TraceRequest:
        """The request with most tokens, prompt and output together."""
        return max(self.requests, key=lambda request: request.num_tokens)


class Line:
    """One line of a trace, a JSON object, with strict reading: every error names file, line and field."""

    def __init__(self, source: str, number: int, data: dict[str, Any], path: str = "") -> None:
        self.source = source
        self.number = number
        self._data = data
        self._path = path

    def __contains__(self, field: str) -> bool:
        return self._data.get(field) is not None

    def raw(self, field: str) -> Any:
        """The value of a field, None where it is absent or null."""
        return self._data.get(field)

    def error(self, field: str, problem: str, hint: str = "") -> BadInput:
        """An error that names the place."""
        return BadInput(f"{self.source}, line {self.number}, field {self._path}{field}: {problem}", hint)

    def whole(self, field: str, at_least: int) -> int:
        """A whole number. Raises BadInput where it is missing, of another type, or too small."""
        value = self._data.get(field)
        if value is None:
            raise self.error(field, "is missing.")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
            raise self.error(field, f"is {shown(value)}; a whole number of at least {at_least} was expected.")
        return value

    def number_of(self, field: str) -> float:
        """A finite number that is not negative. Raises BadInput."""
        value = self._data.get(field)
        if value is None:
            raise self.error(field, "is missing.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.error(field, f"is {shown(value)}; a number of at least 0 was expected.")
        return float(value)

    def whole_numbers(self, field: str) -> list[int] | None:
        """A list of whole numbers, None where it is absent. Raises BadInput."""
        value = self._data.get(field)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(one) is int for one in cast("list[Any]", value)):
            raise self.error(field, f"is {shown(cast(object, value))}; a list of whole numbers was expected.")
        return cast("list[int]", value)

    def inside(self, field: str) -> "Line":
        """The object in a field. Raises BadInput where it is none."""
        value = self._data.get(field)
        if not isinstance(value, dict):
            raise self.error(field, "is missing." if value is None else f"is {shown(value)}; an object was expected.")
        return Line(self.source, self.number, cast("dict[str, Any]", value), f"{self._path}{field}.")


class Chains:
    """Names for blocks that can be trusted to be chained: one number for each pair of (predecessor, content).

    Contents that are small whole numbers, as Mooncake's ids are, take a few bytes each; anything else a dictionary.
    """

    def __init__(self) -> None:
        self._count = 0
        self._names: dict[tuple[int, object], int] = {}
        self._by_id = array("q")  # the name that an id has behind the predecessor it was first seen with, or -1
        self._before = array("q")  # that predecessor, by id

    def __len__(self) -> int:
        return self._count

    def name(self, contents: Iterable[object]) -> "array[int]":
        """The names of a chain, given something that identifies each block's content."""
        before, found = -1, array("q")
        for content in contents:
            before = self._id_name(before, content) if type(content) is int else self._other_name(before, content)
            found.append(before)
        return found

    def _id_name(self, before: int, number: int) -> int:
        by_id = self._by_id
        if not 0 <= number < len(by_id):
            if not 0 <= number < 2 * self._count + _DENSE_FROM:
                return self._other_name(before, number)
            missing = [-1] * (max(number + 1, 2 * len(by_id)) - len(by_id))
            by_id.extend(missing)
            self._before.extend(missing)
        name = by_id[number]
        if name < 0:
            name = by_id[number] = self._count
            self._before[number] = before
            self._count += 1
        elif self._before[number] != before:
            return self._other_name(before, number)
        return name

    def _other_name(self, before: int, content: object) -> int:
        name = self._names.setdefault((before, content), self._count)
        self._count += name == self._count
        return name


def read_lines(path: Path) -> Iterator[Line]:
    """The objects of a JSONL file. Blank lines are skipped. Raises BadInput naming the line that is no object."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield _line(path.name, number, text)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", "Give the path of a .jsonl file.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text.", "Traces are JSONL: one JSON object per line.") from error


def _line(source: str, number: int, text: str) -> Line:
    hint = "Traces are JSONL: one JSON object per line (docs/replay.md)."
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{source}, line {number}: this is not JSON ({error}).", hint) from error
    if not isinstance(data, dict):
        raise BadInput(f"{source}, line {number}: {shown(data)} is not an object.", hint)
    return Line(source, number, cast("dict[str, Any]", data))


def by_arrival(requests: list[TraceRequest]) -> tuple[tuple[TraceRequest, ...], bool]:
    """Requests sorted by arrival, counted from the first one; and whether the file was out of order."""
    ordered = all(early.arrival_s <= late.arrival_s for early, late in pairwise(requests))
    if not ordered:
        requests = sorted(requests, key=lambda request: request.arrival_s)
    first = requests[0].arrival_s
    if first == 0:
        return tuple(requests), not ordered
    moved = (
        TraceRequest(one.arrival_s - first, one.num_prompt_tokens, one.num_output_tokens, one.keys, one.line)
        for one in requests
    )
    return tuple(moved), not ordered


def shown(value: object) -> str:
    """A value short enough for an error."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
