"""Own price lists: the TOML files in catalog/prices/, for what genai-prices does not hold. Read strictly.

Lists are append-only: an entry holds from its valid_from until the next entry of the same model.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import windowtax.catalog
from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.sourced import Basis, Sourced
from windowtax.base.strict import StrictConfig
from windowtax.price.sheet import RATE_NAMES, Cliff, PriceSheet, Rates

FOLDER = Path(windowtax.catalog.__file__).parent / "prices"
LIST_UNIT = "USD per million tokens"
NOT_LISTS = {"cache-storage", "rules", "memory-tiers"}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One dated price of one model. basis: "documented" (a page said the day) or "first seen"."""

    model: str
    valid_from: date
    basis: str
    source: str
    checked: str
    window_tokens: int | None
    note: str
    bands: tuple[Cliff, ...]


@dataclass(frozen=True, kw_only=True)
class OwnList:
    """One seller's list: entries by model, oldest first."""

    provider: str
    title: str
    aliases: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model of the list, in its order."""
        return tuple(dict.fromkeys(entry.model for entry in self.entries))


@dataclass(frozen=True, kw_only=True)
class MemoryTier:
    """Where kept cache can lie: rent in USD per GB (10^9 B) and hour, and B/s on the way back.

    per_accelerator: whether each accelerator has such a way to it, or all of a node share one.
    """

    name: str
    title: str
    usd_per_gb_hour: Sourced
    read_bytes_per_s: Sourced
    per_accelerator: bool

    def priced(self, usd_per_gb_hour: float, date: str) -> "MemoryTier":
        """The same tier at a rent that the caller states. Raises BadInput below zero."""
        if not usd_per_gb_hour >= 0:
            raise BadInput(f"A rent of {usd_per_gb_hour:g} USD per GB and hour makes no sense.")
        price = Sourced(usd_per_gb_hour, "USD/GB-h", Basis.ASSUMED, "given by the caller", date)
        return replace(self, usd_per_gb_hour=price)


@cache
def own_lists() -> tuple[OwnList, ...]:
    """Every list in catalog/prices/. Raises BadInput or UnsupportedModel naming the file and what is wrong in it."""
    return tuple(read_list(path) for path in sorted(FOLDER.glob("*.toml")) if path.stem not in NOT_LISTS)


def own_list(provider: str) -> OwnList | None:
    """The list of that seller, by id or alias."""
    wanted = provider.lower()
    return next((one for one in own_lists() if wanted == one.provider or wanted in one.aliases), None)


def read_list(path: Path) -> OwnList:
    """One TOML list. Raises BadInput or UnsupportedModel naming what is missing, unread, unsourced or out of order."""
    config = _open(path, LIST_UNIT)
    sources = cast(dict[str, dict[str, Any]], config.take("sources", dict))
    entries: list[Entry] = []
    for index, raw in enumerate(_rows(config, "price")):
        one = StrictConfig(raw, f"{path} [[price]] {index + 1}")
        entries.append(_entry(one, sources))
        one.finish()
    for earlier, later in pairwise(entries):
        if earlier.model == later.model and later.valid_from <= earlier.valid_from:
            raise BadInput(f"{path}: the entries of {later.model} are not in the order of their valid_from.")
    found = OwnList(
        provider=config.take("provider", str),
        title=config.take("title", str),
        aliases=tuple(config.take("aliases", list, [])),
        entries=tuple(entries),
    )
    config.finish()
    return found


def own_sheet(found: OwnList, model: str, at: datetime, service: str = "standard") -> PriceSheet:
    """The rates of that day. Raises UnknownName, and BadInput for a service that the list has no prices of."""
    entries = [entry for entry in found.entries if entry.model == model.lower()]
    if not entries:
        raise UnknownName(f"{found.title} lists no model called {model!r}.", f"There are: {', '.join(found.models)}.")
    if service != "standard":
        raise BadInput(f"{found.title} has no {service} prices on this list.", "Leave --batch and --service out.")
    entry = in_force(entries, at)
    notes = [entry.note] if entry.note else []
    if entry.valid_from > at.date():
        notes.append(f"this price was first seen on {entry.valid_from}; what held before is not known")
    return PriceSheet(
        provider=found.provider,
        model=entry.model,
        base=entry.bands[0].rates,
        cliffs=entry.bands[1:],
        window_tokens=entry.window_tokens,
        at=at,
        source=f"catalog/prices/{found.provider}.toml, {entry.basis} {entry.valid_from}: {entry.source}",
        checked=entry.checked,
        notes=tuple(notes),
    )


@cache
def storage_entries() -> tuple[tuple[str, str, date, Decimal, str], ...]:
    """Storage prices: seller, model, valid_from, USD per million tokens and hour, source with its date."""
    path = FOLDER / "cache-storage.toml"
    config = _open(path, "USD per million tokens and hour")
    sources = cast(dict[str, dict[str, Any]], config.take("sources", dict))
    rows: list[tuple[str, str, date, Decimal, str]] = []
    for index, raw in enumerate(_rows(config, "storage")):
        one = StrictConfig(raw, f"{path} [[storage]] {index + 1}")
        text, checked = _source(one, sources)
        price = _decimal(one.take("usd_per_mtok_hour", Decimal), one.source)
        row = (one.take("provider", str), one.take("model", str), one.take("valid_from", date), price)
        rows.append((*row, f"{text} (checked {checked})"))
        one.finish()
    config.finish()
    return tuple(rows)


def storage_price(provider: str, model: str, at: datetime) -> tuple[Decimal, str] | None:
    """USD per million tokens and hour for keeping a cache there that day, and the source; None where none is known."""
    rows = [row for row in storage_entries() if row[:2] == (provider, model)]
    if not rows:
        return None
    past = [row for row in rows if row[2] <= at.date()] or rows[:1]
    return past[-1][3], past[-1][4]


def off_peak_all_day(provider: str, at: datetime) -> str:
    """Why a seller's time-of-day prices do not hold on that day; "" where they do."""
    for raw in _rules("off_peak_days"):
        one = StrictConfig(raw, f"{FOLDER}/rules.toml [[off_peak_days]]")
        local = at.astimezone(UTC) + timedelta(hours=one.take("utc_offset_hours", float))
        holds = one.take("provider", str) == provider and local.date() >= one.take("valid_from", date)
        if WEEKDAYS[local.weekday()] in one.take("weekdays", list) and holds:
            return f"off-peak all day: a {WEEKDAYS[local.weekday()]} there ({one.take('source', str)})"
    return ""


def refused_above(provider: str, model: str, at: datetime) -> int | None:
    """The longest prompt that the seller still takes although its list has rates beyond; None where there is none."""
    for raw in _rules("refused"):
        one = StrictConfig(raw, f"{FOLDER}/rules.toml [[refused]]")
        same = (one.take("provider", str), one.take("model", str)) == (provider, model)
        if same and at.date() >= one.take("valid_from", date):
            return one.take("above", int)
    return None


@cache
def memory_tiers() -> dict[str, MemoryTier]:
    """DRAM, SSD and object storage by name. Raises BadInput or UnsupportedModel naming what is wrong in the file."""
    path = FOLDER / "memory-tiers.toml"
    config = _open(path, "USD per GB and hour; GB per second")
    found: dict[str, MemoryTier] = {}
    for index, raw in enumerate(_rows(config, "tier")):
        one = StrictConfig(raw, f"{path} [[tier]] {index + 1}")
        day = one.take("date", str)
        price = _decimal(one.take("usd_per_gb_hour", Decimal), one.source)
        speed, per = one.take("gb_per_s", int) * 1e9, one.take("speed_per", str)
        if per not in {"accelerator", "node"}:
            raise BadInput(f"{one.source}: the speed is per {per!r}, not per accelerator or node.")
        tier = MemoryTier(
            name=one.take("name", str),
            title=one.take("title", str),
            usd_per_gb_hour=Sourced(
                float(price), "USD/GB-h", Basis(one.take("price_basis", str)), one.take("price_source", str), day
            ),
            read_bytes_per_s=Sourced(
                speed, "B/s", Basis(one.take("speed_basis", str)), one.take("speed_source", str), day
            ),
            per_accelerator=per == "accelerator",
        )
        one.finish()
        found[tier.name] = tier
    config.finish()
    return found


def in_force(entries: Sequence[Entry], at: datetime) -> Entry:
    """The last entry that has begun; the first where none has."""
    past = [entry for entry in entries if entry.valid_from <= at.date()]
    return past[-1] if past else entries[0]


def _entry(one: StrictConfig, sources: dict[str, dict[str, Any]]) -> Entry:
    basis = one.take("basis", str)
    if basis not in {"documented", "first seen"}:
        raise BadInput(f"{one.source}: the basis {basis!r} is neither documented nor first seen.")
    text, checked = _source(one, sources)
    bands = [_band(raw, one.source) for raw in _rows(one, "bands")]
    if not bands or bands[0].above_tokens != 0 or bands != sorted(bands, key=lambda band: band.above_tokens):
        raise BadInput(f"{one.source}: the bands must begin at above = 0 and ascend.")
    return Entry(
        model=one.take("model", str),
        valid_from=one.take("valid_from", date),
        basis=basis,
        source=text,
        checked=checked,
        window_tokens=one.take_optional("window", int),
        note=one.take("note", str, ""),
        bands=tuple(bands),
    )


def _band(raw: dict[str, Any], source: str) -> Cliff:
    one = StrictConfig(raw, f"{source} bands")
    above = one.take("above", int)
    rates = {name: None if name not in one else _decimal(raw[name], source) for name in RATE_NAMES}
    for name in RATE_NAMES:
        one.ignore({name: "taken above"})
    one.finish()
    return Cliff(above_tokens=above, rates=Rates(**rates))


def _source(one: StrictConfig, sources: dict[str, dict[str, Any]]) -> tuple[str, str]:
    name = one.take("source", str)
    if name not in sources:
        raise BadInput(f"{one.source}: there is no source called {name!r}.")
    source = StrictConfig(sources[name], f"{one.source} source {name}")
    return source.take("text", str), source.take("date", str)


def _rows(config: StrictConfig, key: str) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], config.take(key, list))


def _open(path: Path, unit: str) -> StrictConfig:
    config = StrictConfig(tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal), str(path))
    written = config.take("unit", str)
    if written != unit:
        raise BadInput(f"{path}: the unit is {written!r}, but {unit!r} was expected.")
    return config


def _decimal(value: object, source: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or value < 0:
        raise BadInput(f"{source}: {value!r} is not a price.")
    return Decimal(value)


@cache
def _rules(name: str) -> tuple[dict[str, Any], ...]:
    path = FOLDER / "rules.toml"
    # parse_float as in lists is not wanted here: the only number is an offset in hours.
    return tuple(tomllib.loads(path.read_text(encoding="utf-8")).get(name, []))
