"""How bills, break-evens, tiers and sessions look in a terminal, and as JSON."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from windowtax.base.units import format_seconds
from windowtax.cli.columns import columns

INDENT = (0, 0, 0, 2)


def heading(console: Console, text: str) -> None:
    """The first line of a report."""
    console.print(Text(text, style="bold"))


def section(console: Console, text: str) -> None:
    """The title of a part."""
    console.print(Text(f"\n{text}", style="bold cyan"))


def table(console: Console, lines: Sequence[Sequence[str]], left: int = 1) -> None:
    """Aligned columns; the first line names them, the first `left` columns are text."""
    right = range(left, len(lines[0]))
    console.print(columns(console, lines, right=right, names=max(1, left), indent=INDENT[-1]))


def notes(console: Console, said: Iterable[str]) -> None:
    """What must be known, a line each."""
    for text in said:
        console.print(Padding(Text(text), INDENT))


def formula(console: Console, lines: Iterable[str]) -> None:
    """How the figures came about and where their inputs come from."""
    section(console, "How")
    for text in lines:
        console.print(Padding(Text(text, style="dim"), INDENT))


def usd(amount: Decimal | float | None) -> str:
    """Dollars to the hundredth of a cent where they are small, whole above ten thousand."""
    if amount is None:
        return "-"
    value = float(amount)
    if math.isinf(value):
        return "never"
    if value and abs(value) < 0.0001:
        return f"${value:.2e}"
    if abs(value) < 10:
        return f"${value:,.4f}"
    return f"${value:,.2f}" if abs(value) < 10_000 else f"${value:,.0f}"


def rate(amount: Decimal | None) -> str:
    """USD per million tokens as the list writes them."""
    return "-" if amount is None else f"{amount.normalize():f}"


def hours(value: float) -> str:
    """Hours in the unit that reads best."""
    if math.isinf(value):
        return "for ever"
    if value <= 0:
        return "never"
    if value >= 48:
        return f"{value / 24:,.1f} days"
    return f"{value:,.1f} h" if value >= 2 else format_seconds(value * 3600)


def plain(value: object) -> Any:
    """JSON of a report's parts: dataclasses with their properties, Decimals and moments as numbers and ISO text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        found = {
            name for kind in type(value).__mro__ for name, entry in vars(kind).items() if isinstance(entry, property)
        }
        return fields | {name: plain(getattr(value, name)) for name in sorted(found)}
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(Sequence[object], value)]
    return value
