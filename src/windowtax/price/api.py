"""Bills at API price lists, out of the data that ships inside genai-prices. Never over the network.

A length tier there is a cliff: a request whose prompt is longer than the tier's start pays the tier's rates on every
token, cached and generated ones too. Prices are those of the day asked for; today's unless `at` says another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING

from windowtax.base.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

CHECKED_VERSION = "0.2.3"
CHECKED_ON = "2026-11-21"
"""The genai-prices release whose prices were compared with facts/prices-and-recall.md, and the day that was done."""

MTOK = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class PriceList:
    """One model at one seller, by the ids of genai-prices."""

    provider: str
    model: str


@dataclass(frozen=True, kw_only=True)
class ApiBill:
    """One call at one price list, in USD. prompt_tokens include the cached ones.

    cached_usd: the part of input_usd that the cached tokens cost. The usd_per_mtok_* are the rates in force for this
    call, None where the list has none. tier: the cliff that this call is past, "" for none. source, checked: which
    data, and the day it was last compared by hand ("" where this release of the data was not).
    """

    provider: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    input_usd: Decimal
    cached_usd: Decimal
    output_usd: Decimal
    total_usd: Decimal
    usd_per_mtok_input: Decimal | None
    usd_per_mtok_cached: Decimal | None
    usd_per_mtok_output: Decimal | None
    tier: str
    source: str
    checked: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BillPair:
    """The same call without any cache, and with the prefix found in the provider's cache."""

    cold: ApiBill
    cached: ApiBill


def default_price_lists() -> tuple[PriceList, ...]:
    """The three lists that a bill shows unasked: one current model each of three large sellers."""
    return (
        PriceList("openai", "gpt-6.1-sol"),
        PriceList("anthropic", "claude-sonnet-5-5"),
        PriceList("google", "gemini-4-argon"),
    )


def api_bill(
    provider: str,
    model: str,
    prompt_tokens: int,
    output_tokens: int,
    cached_tokens: int = 0,
    at: datetime | None = None,
) -> ApiBill:
    """What one call costs at one price list.

    cached_tokens: those of the prompt that the provider reads back from its own cache; where the list has no price for
    that they are billed as ordinary input, and a note says so. Raises UnknownName, and BadInput on senseless counts.
    """
    if prompt_tokens < 0 or output_tokens < 0 or not 0 <= cached_tokens <= prompt_tokens:
        raise BadInput(
            f"{prompt_tokens:,} prompt tokens, {cached_tokens:,} of them cached, and {output_tokens:,} output tokens "
            "make no sense."
        )
    seller, entry = _find(provider, model)
    prices = entry.get_prices(at or datetime.now(tz=UTC))
    priced_cache = prices.cache_read_mtok is not None
    usage = {"input_tokens": prompt_tokens, "output_tokens": output_tokens}
    if priced_cache and cached_tokens:
        usage["cache_read_tokens"] = cached_tokens
    found = prices.calc_price(usage)
    cached_rate = _rate(prices.cache_read_mtok if priced_cache else prices.input_mtok, prompt_tokens)
    version = _version()
    return ApiBill(
        provider=seller.id,
        model=entry.id,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        input_usd=found["input_price"],
        cached_usd=(cached_rate or Decimal(0)) * cached_tokens / MTOK,
        output_usd=found["output_price"],
        total_usd=found["total_price"],
        usd_per_mtok_input=_rate(prices.input_mtok, prompt_tokens),
        usd_per_mtok_cached=_rate(prices.cache_read_mtok, prompt_tokens),
        usd_per_mtok_output=_rate(prices.output_mtok, prompt_tokens),
        tier=_tier(prices, prompt_tokens),
        source=f"genai-prices {version}, {seller.pricing_urls[0] if seller.pricing_urls else seller.name}",
        checked=CHECKED_ON if version == CHECKED_VERSION else "",
        notes=tuple(_notes(entry, prompt_tokens, cached_tokens, priced_cache)),
    )


def compare_bills(
    prompt_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    at: datetime | None = None,
    lists: Iterable[PriceList] | None = None,
) -> tuple[BillPair, ...]:
    """The same call at several price lists, cold and with `cached_tokens` of its prompt found in the cache.

    lists: default_price_lists() unless given. Tokens are taken as counted by the caller; each seller's own tokenizer
    would count somewhat differently. Raises as api_bill does.
    """
    return tuple(
        BillPair(
            cold=api_bill(entry.provider, entry.model, prompt_tokens, output_tokens, 0, at),
            cached=api_bill(entry.provider, entry.model, prompt_tokens, output_tokens, cached_tokens, at),
        )
        for entry in lists or default_price_lists()
    )


def _find(provider: str, model: str) -> "tuple[Provider, ModelInfo]":
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    snapshot = get_snapshot()
    seller = find_provider_by_id(snapshot.providers, provider)
    if seller is None:
        known = sorted(entry.id for entry in snapshot.providers)
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


def _rate(price: "Decimal | TieredPrices | None", prompt_tokens: int) -> Decimal | None:
    """USD per million tokens in force for a prompt of this length."""
    if price is None or isinstance(price, Decimal):
        return price
    passed = [tier.price for tier in price.tiers if prompt_tokens > tier.start]
    return passed[-1] if passed else price.base


def _tier(prices: "ModelPrice", prompt_tokens: int) -> str:
    price = prices.input_mtok
    if price is None or isinstance(price, Decimal):
        return ""
    passed = [tier.start for tier in price.tiers if prompt_tokens > tier.start]
    return f"above {passed[-1]:,} prompt tokens: the whole request at the higher rate" if passed else ""


def _notes(entry: "ModelInfo", prompt_tokens: int, cached_tokens: int, priced_cache: bool) -> Iterable[str]:
    if cached_tokens and not priced_cache:
        yield "this list has no price for cached tokens; they are billed as ordinary input"
    if entry.context_window is not None and prompt_tokens > entry.context_window:
        yield f"the prompt is longer than this model's window of {entry.context_window:,} tokens"


def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")
