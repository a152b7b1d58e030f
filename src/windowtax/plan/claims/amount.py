"""Units in which articles state numbers, and how a number in one of them is shown."""

import math

from windowtax.base.units import GB, GIB, KB, KIB, MB, MIB, TB, TIB

_FACTORS: dict[str, dict[str, float]] = {
    "B": {"B": 1, "KB": KB, "MB": MB, "GB": GB, "TB": TB, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB},
    "s": {"s": 1, "ms": 1e-3},
    "USD": {"USD": 1},
    "USD/h": {"USD/h": 1},
    "tokens": {"tokens": 1},
    "FLOP": {"FLOP": 1},
    "FLOP/B": {"FLOP/B": 1},
    "": {"": 1, "x": 1, "%": 0.01, "points": 1, "layers": 1, "devices": 1, "bits": 1, "TFLOP/s": 1, "Gbit/s": 1,
         "tokens/h": 1, "GPU-hours": 1, "parameters": 1, "orders": 1, "users": 1, "min": 1, "words": 1, "pages": 1},
}  # fmt: skip
"""Dimension -> unit -> how many of the formula's own unit one of it is. Counts and figures as printed have factor 1."""

UNITS: dict[str, float] = {unit: value for units in _FACTORS.values() for unit, value in units.items()}
DIMENSIONS: dict[str, str] = {unit: dimension for dimension, units in _FACTORS.items() for unit in units}


def factor(unit: str) -> float:
    """How many of its dimension's own unit one of `unit` is: 1,024 for KiB, 0.01 for %."""
    return UNITS[unit]


def amount_text(value: float, unit: str, exact: bool = False) -> str:
    """A number with its unit: "83.88 GiB", "163,840 B", "$1.28", "13.3x". exact: all its digits, not four."""
    if math.isinf(value):
        return "without end"
    if unit == "USD":
        return _dollars(value, exact)
    number = _exact(value) if exact else _four_digits(value)
    if unit in ("x", "%"):
        return f"{number}{'x' if unit == 'x' else ' %'}"
    return f"{number} {unit}".rstrip()


def _dollars(value: float, exact: bool) -> str:
    if abs(value) >= _MANY:
        return f"${_four_digits(value)}"
    number = _exact(value) if exact else _four_digits(value)
    whole, _, cents = number.partition(".")
    return f"${whole}.{cents:0<2}" if cents else f"${number}"


def _exact(value: float) -> str:
    return _whole(value) if float(value).is_integer() else f"{value:,.6g}"


def _four_digits(value: float) -> str:
    size = abs(value)
    if float(value).is_integer() or size >= 1000:
        return _whole(value)
    return f"{value:.4g}" if size >= 1e-4 else f"{value:.2e}"


_MANY = 1e8


def _whole(value: float) -> str:
    """With commas, and from a hundred million on in words: "40 trillion"."""
    if abs(value) < _MANY:
        return f"{value:,.0f}"
    scale, name = next((step for step in _WORDS if abs(value) >= step[0]), _WORDS[-1])
    return f"{value / scale:,.4g} {name}" if value / scale < 1e6 else f"{value:.3e}"


_WORDS = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
