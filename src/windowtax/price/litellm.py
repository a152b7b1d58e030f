"""A second opinion on prices: the rows of litellm (MIT) for sellers that genai-prices or our own lists hold too.

The vendored file is condensed from the JSON inside the litellm wheel; to renew it:
`python -m windowtax.price.litellm model_prices_and_context_window_backup.json 1.109.1 2026-11-22 > .../litellm.json`.
litellm keeps no dates, no times of day, and every line as "above": xAI's inclusive 200,000 reads 200,000 there.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any, cast

from windowtax.price.own_lists import FOLDER
from windowtax.price.sheet import RATE_NAMES, PriceSheet, Rates

SELLERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "xai": "x-ai",
    "deepseek": "deepseek",
    "moonshot": "moonshotai",
    "zai": "zai",
    "minimax": "minimax",
    "mistral": "mistral",
    "dashscope": "alibaba",
    "volcengine": "volcengine",
    "xiaomi_mimo": "xiaomi",
}
"""litellm's name of a seller, and the one used here."""

_KEYS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "write_5m",
    "cache_creation_input_token_cost_above_1hr": "write_1h",
}
_ABOVE = re.compile(r"^(.*)_above_(\d+)k_tokens$")


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """What litellm says of the same rates: "agrees", "differs" or "not listed", and the rates that differ, in words."""

    verdict: str
    differences: tuple[str, ...]
    source: str


def cross_check(sheet: PriceSheet, prompt_tokens: int = 0) -> CrossCheck:
    """Compares the rates that a prompt of this length pays with litellm's.

    Only rates that both hold are compared, and only standard prices of the day of litellm's file or later: earlier
    ones and other services are "not listed".
    """
    data = _vendored()
    source = f"litellm {data['version']} of {data['date']}"
    row = cast(dict[str, Any], data["rows"]).get(f"{sheet.provider}/{sheet.model}")
    if row is None or sheet.service != "standard" or sheet.at.date() < date.fromisoformat(cast(str, data["valid_on"])):
        return CrossCheck(verdict="not listed", differences=(), source=source)
    # The inclusive lines of xAI are 199,999 here and 200,000 there: on the line itself one token more asks both alike.
    cliff = sheet.cliff(prompt_tokens)
    on_line = cliff is not None and cliff.inclusive and prompt_tokens == cliff.above_tokens + 1
    theirs = litellm_rates(row, prompt_tokens + on_line)
    ours = sheet.rates(prompt_tokens)
    found = tuple(
        f"{name}: {ours_usd} here, {theirs_usd} there"
        for name in RATE_NAMES
        if (ours_usd := getattr(ours, name)) is not None
        and (theirs_usd := getattr(theirs, name)) is not None
        and ours_usd != theirs_usd
    )
    return CrossCheck(verdict="differs" if found else "agrees", differences=found, source=source)


def litellm_rows() -> Mapping[str, Any]:
    """Every vendored row, by seller/model."""
    return cast(Mapping[str, Any], _vendored()["rows"])


def litellm_rates(row: Mapping[str, Any], prompt_tokens: int) -> Rates:
    """The rates of a vendored row that a prompt of this length pays."""
    bands = [band for band in cast(list[dict[str, Any]], row["bands"]) if prompt_tokens > band["above"]]
    found: dict[str, Any] = {**row["bands"][0], **(bands[-1] if bands else {})}
    return Rates(**{name: Decimal(str(found[name])) if name in found else None for name in RATE_NAMES})


def condense(raw: Mapping[str, Mapping[str, Any]], version: str, day: str) -> dict[str, Any]:
    """The vendored form of litellm's JSON: chat models of SELLERS, USD per million tokens, ascending bands."""
    rows: dict[str, Any] = {}
    for name, entry in raw.items():
        seller = SELLERS.get(str(entry.get("litellm_provider")))
        priced = "input_cost_per_token" in entry or "tiered_pricing" in entry
        if seller is None or entry.get("mode") not in {"chat", "responses"} or not priced or name.startswith("ft:"):
            continue
        model = name.partition("/")[2] or name
        rows.setdefault(f"{seller}/{model.lower()}", {"bands": _bands(entry)})
    return {
        "what": "condensed from model_prices_and_context_window_backup.json of litellm; USD per million tokens",
        "licence": "MIT, Copyright (c) 2023 Berri AI; the text is in litellm.LICENSE beside this file",
        "version": version,
        "date": day,
        "valid_on": f"{day[:7]}-01",
        "rows": dict(sorted(rows.items())),
    }


def _bands(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    bands: dict[int, dict[str, Any]] = {0: {}}
    for key, value in entry.items():
        match = _ABOVE.match(key)
        name = _KEYS.get(match.group(1) if match else key)
        if name is not None and isinstance(value, int | float):
            bands.setdefault(int(match.group(2)) * 1000 if match else 0, {})[name] = _per_mtok(value)
    for tier in entry.get("tiered_pricing", []):
        found = {name: _per_mtok(tier[key]) for key, name in _KEYS.items() if key in tier}
        bands.setdefault(int(tier["range"][0]), {}).update(found)
    return [{"above": above, **bands[above]} for above in sorted(bands)]


def _per_mtok(per_token: float) -> float:
    value = round(Decimal(repr(per_token)) * 1_000_000, 8)
    return float(value)


@cache
def _vendored() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((FOLDER / "litellm.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        condensed = condense(json.load(file), sys.argv[2], sys.argv[3])
    head = {key: value for key, value in condensed.items() if key != "rows"}
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(row)}" for key, row in condensed["rows"].items())
    print(json.dumps(head)[:-1] + ',\n "rows": {\n' + lines + "\n}}")
