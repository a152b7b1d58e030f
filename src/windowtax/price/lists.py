"""Finding a price list: genai-prices' shipped data first, own TOML lists for what it lacks. Never over the network.

genai-prices 0.2.3 (MIT, pydantic) is the primary source: dated prices, time-of-day prices, cliffs, cache reads and
5-minute and 1-hour writes, batch, flex and priority variants.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

from windowtax.base.errors import BadInput, UnknownName
from windowtax.price.own_lists import off_peak_all_day, own_list, own_lists, own_sheet, refused_above, storage_price
from windowtax.price.sheet import Cliff, PriceSheet, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

CHECKED_VERSION = "0.2.3"
CHECKED_ON = "2026-11-21"
"""The genai-prices release whose prices were compared with facts/prices-and-recall.md, and the day that was done."""

SERVICES: dict[str, tuple[str, str]] = {
    "batch": ("processing", "batch"),
    "flex": ("service_tier", "flex"),
    "priority": ("service_tier", "priority"),
    "fast": ("service_tier", "fast"),
}
"""Ways of service other than the standard one, and what genai-prices calls them."""

_KEYS = {
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cache_read": ("cache_read_mtok",),
    "write_5m": ("cache_write_5m_mtok", "cache_write_mtok"),
    "write_1h": ("cache_write_1h_mtok",),
}


@dataclass(frozen=True, slots=True)
class PriceList:
    """One model at one seller, by the ids of genai-prices or of catalog/prices/."""

    provider: str
    model: str

    @classmethod
    def parse(cls, text: str) -> "PriceList":
        """ "openai/gpt-5.5": what stands before the first slash is the seller. Raises BadInput."""
        provider, slash, model = text.partition("/")
        if not slash or not provider or not model:
            raise BadInput(f"{text!r} names no price list.", "Write PROVIDER/MODEL, such as anthropic/claude-opus-5.")
        return cls(provider, model)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def price_sheet(provider: str, model: str, at: datetime | None = None, service: str = "standard") -> PriceSheet:
    """The rates of one model at one seller at a moment (now unless given; without a zone it is UTC).

    Raises UnknownName, and BadInput for a service of which the list has no price at that moment.
    """
    if service != "standard" and service not in SERVICES:
        raise UnknownName(f"There is no service called {service!r}.", f"There are: standard, {', '.join(SERVICES)}.")
    moment = _utc(at)
    own = own_list(provider)
    if own is not None:
        return own_sheet(own, model, moment, service)
    seller, entry = _find(provider, model)
    prices, notes = _prices(seller, entry, moment, service)
    from importlib.metadata import version

    found = version("genai-prices")
    storage = storage_price(seller.id, entry.id, moment)
    return PriceSheet(
        provider=seller.id,
        model=entry.id,
        base=_rates(prices, 0),
        cliffs=tuple(Cliff(above_tokens=start, rates=_rates(prices, start + 1)) for start in _starts(prices)),
        window_tokens=entry.context_window,
        service=service,
        storage_usd_per_mtok_hour=storage[0] if storage else None,
        storage_source=storage[1] if storage else "",
        at=moment,
        source=f"genai-prices {found}, {seller.pricing_urls[0] if seller.pricing_urls else seller.name}",
        checked=CHECKED_ON if found == CHECKED_VERSION else "",
        notes=tuple(notes),
        refused_above=refused_above(seller.id, entry.id, moment),
    )


def price_list_names() -> tuple[str, ...]:
    """Every list that has a price of prompts and of answers, as PROVIDER/MODEL, in order."""
    from genai_prices.data_snapshot import get_snapshot

    found = [f"{own.provider}/{model}" for own in own_lists() for model in own.models]
    for seller in get_snapshot().providers:
        for entry in seller.models:
            rows = entry.prices if isinstance(entry.prices, list) else []
            prices = rows[-1].prices if rows else entry.prices
            if not isinstance(prices, list) and prices.input_mtok is not None and prices.output_mtok is not None:
                found.append(f"{seller.id}/{entry.id}")
    return tuple(sorted(found))


def price_changes(provider: str, model: str) -> tuple[datetime, ...]:
    """The days on which a list changed or will change, ascending. Raises UnknownName.

    What held before the first of them is price_sheet's answer for an earlier day: known for genai-prices' lists, an
    assumption for own ones (they say when they were first seen).
    """
    own = own_list(provider)
    if own is not None:
        days = [entry.valid_from for entry in own.entries if entry.model == model.lower()]
        if not days:
            raise UnknownName(f"{own.title} lists no model called {model!r}.", f"There are: {', '.join(own.models)}.")
    else:
        from genai_prices.types import StartDateConstraint

        _, entry = _find(provider, model)
        rows = entry.prices if isinstance(entry.prices, list) else []
        days = [row.constraint.start_date for row in rows if isinstance(row.constraint, StartDateConstraint)]
    return tuple(datetime(day.year, day.month, day.day, tzinfo=UTC) for day in sorted(set(days)))


def daily_windows(provider: str, model: str) -> tuple[tuple[time, time], ...]:
    """The times of day (UTC, from and to) at which a list has a price of its own; none for most. Raises UnknownName."""
    from genai_prices.types import TimeOfDateConstraint

    if own_list(provider) is not None:
        return ()
    _, entry = _find(provider, model)
    rows = entry.prices if isinstance(entry.prices, list) else []
    found = [row.constraint for row in rows if isinstance(row.constraint, TimeOfDateConstraint)]
    return tuple((window.start_time, window.end_time) for window in found)


def _utc(at: datetime | None) -> datetime:
    if at is None:
        return datetime.now(tz=UTC)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _prices(seller: "Provider", entry: "ModelInfo", at: datetime, service: str) -> "tuple[ModelPrice, list[str]]":
    """The row in force, and what must be said about it.

    genai-prices keeps dated and time-of-day prices in one list, and a row can carry only one of the two conditions:
    a peak price belongs to the last dated row, so before that date it must not win (its issue 582).
    """
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    notes: list[str] = []
    rows = entry.prices
    timed = isinstance(rows, list) and any(isinstance(row.constraint, TimeOfDateConstraint) for row in rows)
    if isinstance(rows, list) and timed and service == "standard":
        plain = [row for row in rows if not isinstance(row.constraint, TimeOfDateConstraint)]
        starts = [row.constraint.start_date for row in plain if isinstance(row.constraint, StartDateConstraint)]
        weekend = off_peak_all_day(seller.id, at)
        reason = weekend
        if starts and at.date() < max(starts):
            reason = f"the time-of-day prices came with the price of {max(starts)}; they are not applied before it"
        if reason:
            notes.append(reason)
            active = [row for row in plain if row.constraint is None or row.constraint.active(at)]
            return (active or plain)[-1].prices, notes
        notes.append("this list has time-of-day prices; the bill is of the moment given (UTC)")
    if service == "standard":
        return entry.get_prices(at), notes
    key, value = SERVICES[service]
    offered = [variant for variant in entry.price_variants or () if variant.when.get(key) == value]
    if not any(variant.constraint is None or variant.constraint.active(at) for variant in offered):
        since = f" at {at:%Y-%m-%d}" if offered else ""
        raise BadInput(
            f"{seller.name} lists no {service} price of {entry.id}{since}.",
            "Leave --batch and --service out, or take a later --at: variants begin on the day they were verified.",
        )
    return entry.get_prices(at, {key: value}), notes


def _find(provider: str, model: str) -> "tuple[Provider, ModelInfo]":
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    snapshot = get_snapshot()
    seller = find_provider_by_id(snapshot.providers, provider)
    if seller is None:
        known = sorted([*(entry.id for entry in snapshot.providers), *(own.provider for own in own_lists())])
        raise UnknownName(f"No price list of a provider called {provider!r} is known.", _hint(provider, known))
    entry = next((entry for entry in seller.models if entry.id == model.lower()), None)
    entry = entry or seller.find_model(model, all_providers=snapshot.providers)
    if entry is None:
        raise UnknownName(
            f"{seller.name} lists no model called {model!r}.", _hint(model, [entry.id for entry in seller.models])
        )
    return seller, entry


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name.lower(), known, n=5, cutoff=0.5)
    return f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(known)}."


def _price(prices: "ModelPrice", keys: tuple[str, ...]) -> "Decimal | TieredPrices | None":
    found = [cast("Decimal | TieredPrices | None", getattr(prices, key)) for key in keys]
    return next((price for price in found if price is not None), None)


def _rates(prices: "ModelPrice", prompt_tokens: int) -> Rates:
    return Rates(**{name: _rate(_price(prices, keys), prompt_tokens) for name, keys in _KEYS.items()})


def _rate(price: "Decimal | TieredPrices | None", prompt_tokens: int) -> Decimal | None:
    """USD per million tokens in force for a prompt of this length."""
    if price is None or isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return passed[-1] if passed else price.base


def _starts(prices: "ModelPrice") -> list[int]:
    """Every prompt length at which some rate of the list jumps, ascending."""
    found = (_price(prices, keys) for keys in _KEYS.values())
    tiered = [price for price in found if price is not None and not isinstance(price, Decimal)]
    return sorted({tier.start for price in tiered for tier in price.tiers})
