"""Words of the `windowtax price` commands to values, and back: tokens, moments, times, price lists."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import format_seconds, parse_tokens
from windowtax.price.lists import PriceList, price_sheet
from windowtax.price.sheet import PriceSheet

List = Annotated[str, typer.Argument(metavar="PROVIDER/MODEL", help="Such as anthropic/claude-opus-5.")]
Prompt = Annotated[str, typer.Option(help="Prompt tokens, cached and written ones included: 131072 or 128K.")]
Output = Annotated[str, typer.Option(help="Generated tokens.")]
Cached = Annotated[str, typer.Option(help="Of the prompt: read from the seller's cache.")]
At = Annotated[
    str | None, typer.Option(metavar="DATETIME", help="Prices of that moment, UTC: 2026-03-12 or ...T03:00.")
]
Batch = Annotated[bool, typer.Option("--batch", help="Batch prices.")]
Service = Annotated[str, typer.Option(help="standard, batch, flex, priority or fast.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def sources_of(sheet: PriceSheet) -> list[str]:
    """Where the rates of a sheet come from, and when that was checked."""
    checked = f", checked {sheet.checked}" if sheet.checked else ""
    storage = [f"storage: {sheet.storage_source}"] if sheet.storage_source else []
    return [f"prices: {sheet.source}{checked}", *storage]


def sheet_of(price_list: str, at: str | None, service: str = "standard") -> PriceSheet:
    """The rates of PROVIDER/MODEL at a moment. Raises BadInput, UnknownName."""
    entry = PriceList.parse(price_list)
    return price_sheet(entry.provider, entry.model, moment(at), service)


def moment(at: str | None) -> datetime | None:
    """A moment from ISO text, UTC unless it says another zone. Raises BadInput."""
    if at is None:
        return None
    try:
        found = datetime.fromisoformat(at)
    except ValueError as error:
        raise BadInput(
            f"{at!r} is not a moment.", "Write 2026-03-12, 2026-03-12T03:00 or with a zone: +08:00."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def tokens_of(words: str) -> int:
    """Tokens, zero allowed. Raises BadInput."""
    return 0 if words.strip() == "0" else parse_tokens(words)


_DURATION = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|d)?\s*$")
_UNIT_S = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def seconds_of(words: str) -> float:
    """Seconds from 90s, 5m, 1h or 2d. Raises BadInput."""
    match = _DURATION.match(words)
    if match is None:
        raise BadInput(f"{words!r} is not a time.", "Write 90s, 5m, 1h or 2d.")
    return float(match.group(1)) * _UNIT_S[match.group(2)]


def gap_text(seconds: float) -> str:
    """A time in minutes, or "any" where nothing bounds it."""
    if seconds == float("inf"):
        return "any"
    return f"{seconds / 60:,.1f} min" if seconds >= 60 else format_seconds(seconds)


def print_json(value: Any) -> None:
    """Prints a report as JSON."""
    typer.echo(json.dumps(value, indent=2))
