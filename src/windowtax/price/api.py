"""Bills at API price lists: one call at one list, or the same call at several.

A length tier is a cliff: a request whose prompt is longer than the tier's start pays the tier's rates on every token,
cached and generated ones too. Prices are those of the moment asked for; now unless `at` says another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from windowtax.price.cliff import CliffGuard, cliff_guard
from windowtax.price.lists import CHECKED_ON, CHECKED_VERSION, PriceList, price_sheet
from windowtax.price.sheet import PriceSheet, Usage

__all__ = [
    "CHECKED_ON",
    "CHECKED_VERSION",
    "ApiBill",
    "BillPair",
    "PriceList",
    "api_bill",
    "bill_of",
    "compare_bills",
    "default_price_lists",
]


@dataclass(frozen=True, kw_only=True)
class ApiBill:
    """One call at one price list, in USD. prompt_tokens include the cached and the written ones.

    cached_usd, write_usd: the parts of input_usd that reading and writing the cache cost. The usd_per_mtok_* are the
    rates in force for this call, None where the list has none. tier: the cliff that this call is past, "" for none.
    source, checked: which data, and the day it was last compared by hand ("" where this release was not).
    """

    provider: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    write_5m_tokens: int = 0
    write_1h_tokens: int = 0
    input_usd: Decimal
    cached_usd: Decimal
    write_usd: Decimal = Decimal(0)
    output_usd: Decimal
    total_usd: Decimal
    usd_per_mtok_input: Decimal | None
    usd_per_mtok_cached: Decimal | None
    usd_per_mtok_output: Decimal | None
    usd_per_mtok_write_5m: Decimal | None = None
    usd_per_mtok_write_1h: Decimal | None = None
    tier: str
    service: str = "standard"
    at: datetime | None = None
    guard: CliffGuard | None = None
    source: str
    checked: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BillPair:
    """The same call without any cache, and with the prefix found in the provider's cache."""

    cold: ApiBill
    cached: ApiBill


def default_price_lists() -> tuple[PriceList, ...]:
    """The lists that a bill shows unasked: current models of three sellers, dear, middling and cheap."""
    return (
        PriceList("anthropic", "claude-opus-5-5"),
        PriceList("openai", "gpt-6.1-sol"),
        PriceList("deepseek", "deepseek-v4-pro"),
    )


def api_bill(
    provider: str,
    model: str,
    prompt_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    at: datetime | None = None,
    *,
    write_5m_tokens: int = 0,
    write_1h_tokens: int = 0,
    service: str = "standard",
) -> ApiBill:
    """What one call costs at one price list.

    cached_tokens: those of the prompt that the provider reads back from its own cache; where the list has no price for
    that they are billed as ordinary input, and a note says so. write_5m_tokens, write_1h_tokens: those that it writes
    there. service: "standard" or one of lists.SERVICES. Raises UnknownName, and BadInput on senseless counts.
    """
    usage = Usage(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        write_5m_tokens=write_5m_tokens,
        write_1h_tokens=write_1h_tokens,
    )
    return bill_of(price_sheet(provider, model, at, service), usage)


def bill_of(sheet: PriceSheet, usage: Usage) -> ApiBill:
    """The bill of one call by a sheet at hand. Raises BadInput as PriceSheet.cost does."""
    cost, rates, cliff = sheet.cost(usage), sheet.rates(usage.prompt_tokens), sheet.cliff(usage.prompt_tokens)
    return ApiBill(
        provider=sheet.provider,
        model=sheet.model,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        write_5m_tokens=usage.write_5m_tokens,
        write_1h_tokens=usage.write_1h_tokens,
        input_usd=cost.input_usd,
        cached_usd=cost.cached_usd,
        write_usd=cost.write_usd,
        output_usd=cost.output_usd,
        total_usd=cost.total_usd,
        usd_per_mtok_input=rates.input,
        usd_per_mtok_cached=rates.cache_read,
        usd_per_mtok_output=rates.output,
        usd_per_mtok_write_5m=rates.write_5m,
        usd_per_mtok_write_1h=rates.write_1h,
        tier="" if cliff is None else cliff.label,
        service=sheet.service,
        at=sheet.at,
        guard=cliff_guard(sheet, usage),
        source=sheet.source,
        checked=sheet.checked,
        notes=tuple(sheet.usage_notes(usage)),
    )


def compare_bills(
    prompt_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    at: datetime | None = None,
    lists: Iterable[PriceList] | None = None,
    service: str = "standard",
) -> tuple[BillPair, ...]:
    """The same call at several price lists, cold and with `cached_tokens` of its prompt found in the cache.

    lists: default_price_lists() unless given. Tokens are taken as counted by the caller; each seller's own tokenizer
    would count somewhat differently. Raises as api_bill does.
    """
    sheets = [price_sheet(entry.provider, entry.model, at, service) for entry in lists or default_price_lists()]
    cold = Usage(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    cached = Usage(prompt_tokens=prompt_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens)
    return tuple(BillPair(cold=bill_of(sheet, cold), cached=bill_of(sheet, cached)) for sheet in sheets)
