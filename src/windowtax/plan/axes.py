"""Axes of pictures: their ends and labels, and how figures are written where there is little room."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10
from typing import Any

from windowtax.base.units import KIB, MIB

_MOST_STEPS = 8
_ROOM = 1.15


def steps_125(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Both ends of an axis around all positive values, and its labels: 1, 2, 5 times powers of ten, or those alone."""
    positive = [value for value in values if value > 0]
    if not positive:
        return [1.0, 10.0], []
    low, high = min(positive) / _ROOM, max(positive) * _ROOM
    first, last = floor(log10(low)), ceil(log10(high))
    steps = [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5)]
    ends = [max(step for step in steps if step <= low), min(step for step in steps if step >= high)]
    inside = [step for step in steps if ends[0] <= step <= ends[1]]
    tens = [10.0**power for power in range(first, last + 1) if ends[0] <= 10.0**power <= ends[1]]
    return ends, inside if len(inside) <= _MOST_STEPS else tens


def named(labels: Mapping[Any, str]) -> str:
    """A Vega expression that writes at each of these values its name, and nothing elsewhere."""
    return " : ".join([*(f"datum.value == {value!r} ? '{name}'" for value, name in labels.items()), "''"])


def short_figure(value: float) -> str:
    """A figure as an axis has room for it: 0.05, 20, 1k, 50k, 2M, 1B."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def short_tokens(tokens: int) -> str:
    """Tokens as a person types them, always exact: "128K", "1M", "100000"."""
    for unit, letter in ((MIB, "M"), (KIB, "K")):
        if tokens >= unit and tokens % unit == 0:
            return f"{tokens // unit}{letter}"
    return str(tokens)
