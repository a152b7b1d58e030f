"""The shape of a price list: where it steps, by how much, and what output, cached input and storage cost against input.

A tier is a cliff: a request with more prompt tokens than the threshold pays the tier's rates on every token.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from windowtax.base.errors import BadInput, UnknownName
from windowtax.price.lists import price_changes, price_sheet
from windowtax.price.own_lists import own_lists
from windowtax.price.sheet import PriceSheet


@dataclass(frozen=True, kw_only=True)
class Tier:
    """One step of a list. USD per million tokens for whole requests of more than threshold_tokens prompt tokens.

    input_step, output_step: against the band just below.
    """

    threshold_tokens: int
    input_usd_per_mtok: float
    output_usd_per_mtok: float | None
    input_step: float
    output_step: float | None


@dataclass(frozen=True, kw_only=True)
class PriceShape:
    """One model at one seller. USD per million tokens below the first tier; None where the list has no such price."""

    provider: str
    model: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float | None
    cache_read_usd_per_mtok: float | None
    tiers: tuple[Tier, ...]
    context_window_tokens: int | None
    storage_usd_per_mtok_hour: float | None
    storage_source: str
    source: str
    date: str

    @property
    def output_ratio(self) -> float | None:
        """Output price over input price."""
        return None if self.output_usd_per_mtok is None else self.output_usd_per_mtok / self.input_usd_per_mtok

    @property
    def read_discount(self) -> float | None:
        """Input price over the price of a cached token."""
        return self.input_usd_per_mtok / self.cache_read_usd_per_mtok if self.cache_read_usd_per_mtok else None

    @property
    def key(self) -> str:
        """The model without vendor prefix and punctuation, to find it again at other sellers."""
        return plain_name(self.model)

    @property
    def window_tokens(self) -> int | None:
        """The longest prompt the list is known to take: its window, or at least its last threshold."""
        return self.context_window_tokens or (self.tiers[-1].threshold_tokens if self.tiers else None)


def plain_name(model: str) -> str:
    """ "anthropic/claude-opus-4.6" and "claude-opus-4-6" are one model."""
    return model.rsplit("/", 1)[-1].lower().replace(".", "-").replace("_", "-")


def brand(key: str) -> str:
    """ "gemini", "gpt", "qwen": whose model it is, whoever sells it. key: a plain name."""
    return key.split("-")[0].rstrip("0123456789")


def price_shape(provider: str, model: str, at: datetime | None = None) -> PriceShape:
    """The shape of one list at a moment (now unless given). Raises UnknownName, and BadInput without a price."""
    return shape_of(price_sheet(provider, model, at))


def shape_of(sheet: PriceSheet) -> PriceShape:
    """The shape of a price sheet. Raises BadInput where it has no price per input token."""
    base = sheet.base
    if not base.input:
        raise BadInput(f"{sheet.provider}/{sheet.model} has no price per input token.", "Choose a text model.")
    return PriceShape(
        provider=sheet.provider,
        model=sheet.model,
        input_usd_per_mtok=float(base.input),
        output_usd_per_mtok=None if base.output is None else float(base.output),
        cache_read_usd_per_mtok=None if base.cache_read is None else float(base.cache_read),
        tiers=tuple(_tiers(sheet)),
        context_window_tokens=sheet.window_tokens,
        storage_usd_per_mtok_hour=None
        if sheet.storage_usd_per_mtok_hour is None
        else float(sheet.storage_usd_per_mtok_hour),
        storage_source=sheet.storage_source,
        source=sheet.source,
        date=sheet.checked,
    )


def _tiers(sheet: PriceSheet) -> Iterator[Tier]:
    below = sheet.base
    for cliff in sheet.cliffs:
        above = cliff.rates
        if above.input and below.input and above.input != below.input:
            priced = above.output is not None and below.output
            yield Tier(
                threshold_tokens=_whole(cliff.above_tokens),
                input_usd_per_mtok=float(above.input),
                output_usd_per_mtok=None if above.output is None else float(above.output),
                input_step=float(above.input / below.input),
                output_step=float((above.output or 0) / (below.output or 1)) if priced else None,
            )
        below = above


def _whole(start: int) -> int:
    """An inclusive threshold is stored one short: 199,999 stands for 200,000."""
    return start + 1 if (start + 1) % 1000 == 0 else start


@cache
def listed_models() -> tuple[tuple[str, str], ...]:
    """(seller, model) of every list that is known, own ones first."""
    from genai_prices.data_snapshot import get_snapshot

    own = [(found.provider, model) for found in own_lists() for model in found.models]
    return (*own, *((seller.id, entry.id) for seller in get_snapshot().providers for entry in seller.models))


def shapes(provider: str = "", *, of_brand: str = "", key: str = "", at: datetime | None = None) -> list[PriceShape]:
    """Every list of a seller, of a brand, or of a model by its plain name; none without an input price."""
    found: list[PriceShape] = []
    for seller, model in listed_models():
        name = plain_name(model)
        if (provider and seller != provider) or (of_brand and brand(name) != of_brand) or (key and name != key):
            continue
        try:
            found.append(price_shape(seller, model, at))
        except (BadInput, UnknownName):
            continue
    return found


def tier_removed_on(provider: str, model: str, at: datetime | None = None) -> str:
    """The day on which a list lost its tiers (ISO); "" where it has them still or never had any."""
    had = False
    for day in price_changes(provider, model):
        had = had or bool(price_shape(provider, model, day - timedelta(days=1)).tiers)
        if at is not None and day > at:
            break
        if had and not price_shape(provider, model, day).tiers:
            return day.date().isoformat()
    return ""
