"""Formulas of money: API price lists on a stated day, prompt caching, and retrieval against a full window."""

import math
from datetime import UTC, datetime
from statistics import median

from windowtax.base.errors import BadInput
from windowtax.plan.claims.formula import formula
from windowtax.price.api import api_bill
from windowtax.price.caching import Gaps, Multipliers, multipliers
from windowtax.price.lists import price_sheet
from windowtax.price.own_lists import memory_tiers
from windowtax.price.xray.shape import shapes


def _day(at: str) -> datetime:
    return datetime.fromisoformat(at).replace(hour=12, tzinfo=UTC)


@formula("USD", "the bill of one call at a price list on that day, input only unless output tokens are given")
def call_price(provider: str, model: str, tokens: float, at: str, output: float = 0) -> float:
    return float(api_bill(provider, model, int(tokens), int(output), at=_day(at)).total_usd)


@formula("", "one call's bill over another's, output tokens on either side as stated")
def call_ratio(
    provider: str, model: str, tokens: float, other_tokens: float, at: str, output: float = 0, other_output: float = 0
) -> float:
    return call_price(provider, model, tokens, at, output) / call_price(provider, model, other_tokens, at, other_output)


@formula("", "input price of one model over that of another, same tokens")
def seller_ratio(provider: str, model: str, other_provider: str, other: str, tokens: float, at: str) -> float:
    return call_price(provider, model, tokens, at) / call_price(other_provider, other, tokens, at)


@formula("", "how the input rate steps at a tier: rate of a prompt of tokens + 1 over that of one of tokens")
def tier_step(provider: str, model: str, tokens: float, at: str) -> float:
    below, above = (api_bill(provider, model, int(tokens) + extra, 0, at=_day(at)) for extra in (0, 1))
    return float((above.usd_per_mtok_input or 0) / (below.usd_per_mtok_input or 1))


@formula("", "output rate over input rate")
def output_over_input(provider: str, model: str, at: str) -> float:
    bill = api_bill(provider, model, 1000, 1, at=_day(at))
    return float((bill.usd_per_mtok_output or 0) / (bill.usd_per_mtok_input or 1))


MAKERS = (
    "anthropic", "openai", "google", "x-ai", "deepseek", "moonshotai", "zai", "minimax", "mistral", "meta", "cohere",
    "alibaba",
)  # fmt: skip
"""Sellers of their own models; what resellers ask for them says nothing new."""


@formula("", "median of output rate over input rate over the priced text models of twelve makers")
def median_output_over_input(at: str) -> float:
    ratios = [
        shape.output_ratio for maker in MAKERS for shape in shapes(maker, at=_day(at)) if shape.output_ratio is not None
    ]
    return median(ratios)


@formula("USD", "a session: the same prompt sent each turn, at the list price of every turn")
def session_uncached(provider: str, model: str, tokens: float, turns: float, at: str, output: float = 0) -> float:
    return turns * call_price(provider, model, tokens, at, output)


@formula("USD", "a session with prompt caching: one write at its surcharge, then reads at the list's cache-read rate")
def session_cached(provider: str, model: str, tokens: float, turns: float, at: str, ttl: str) -> float:
    count, day = int(tokens), _day(at)
    short = ttl == "5 min"
    first = api_bill(
        provider, model, count, 0, at=day, write_5m_tokens=count * short, write_1h_tokens=count * (not short)
    ).total_usd
    read = api_bill(provider, model, count, 0, count, at=day).total_usd
    return float(first + (int(turns) - 1) * read)


@formula("", "the same session over one by retrieval at a stated price per turn")
def session_ratio(provider: str, model: str, tokens: float, turns: float, at: str, ttl: str, other_usd: float) -> float:
    return session_cached(provider, model, tokens, turns, at, ttl) / (turns * other_usd)


def _tier(provider: str, model: str, at: str, ttl: str) -> Multipliers:
    """A write tier ("5 min" or "1 h") of a price list on that day. Raises BadInput where the list has no such tier."""
    tiers = {tier.name: tier for tier in multipliers(price_sheet(provider, model, _day(at)))}
    if ttl not in tiers:
        raise BadInput(f"{provider}/{model} has no write tier {ttl!r}.", f"It has: {', '.join(tiers)}.")
    return tiers[ttl]


@formula("", "reads per write from which ordinary caching pays: (w - 1) / (1 - r)")
def caching_reads(provider: str, model: str, at: str, ttl: str) -> float:
    return _tier(provider, model, at, ttl).reads_per_write


@formula("", "hit rate from which ordinary caching pays: (w - 1) / (w - r)")
def caching_hit_rate(provider: str, model: str, at: str, ttl: str) -> float:
    return _tier(provider, model, at, ttl).hit_rate


@formula("", "reads that pay for a call sent only to fill the cache: w / (1 - r)")
def prewarm_reads(provider: str, model: str, at: str, ttl: str) -> float:
    return _tier(provider, model, at, ttl).prewarm_reads


@formula("", "the same as a hit rate: k / (k + 1)")
def prewarm_hit_rate(provider: str, model: str, at: str, ttl: str) -> float:
    return _tier(provider, model, at, ttl).prewarm_hit_rate


@formula("", "whole reads per write as a hit rate: ceil(k) / (ceil(k) + 1) of ordinary caching")
def whole_reads_hit_rate(provider: str, model: str, at: str, ttl: str) -> float:
    reads = _tier(provider, model, at, ttl).whole_reads
    return reads / (reads + 1)


@formula("", "price of a read token over that of an ordinary one")
def cache_read_rate(provider: str, model: str, at: str, ttl: str) -> float:
    return _tier(provider, model, at, ttl).read


@formula("", "hit rate of one stream of calls under another time to live, gaps exponential: 1 - (1 - h)^(T / t)")
def hit_rate_of_longer_ttl(hit_rate: float, ttl_min: float, longer_ttl_min: float) -> float:
    """h = 1 - exp(-t / g) for gaps of mean g (price/caching.py, D), so the same g under T gives 1 - (1 - h)^(T / t)."""
    return Gaps(mean_s=-ttl_min * 60 / math.log(1 - hit_rate)).hit_rate(longer_ttl_min * 60)


@formula("", "price of a GB and hour in one memory tier over that in another")
def tier_price_ratio(dear: str, cheap: str) -> float:
    tiers = memory_tiers()
    return tiers[dear].usd_per_gb_hour.value / tiers[cheap].usd_per_gb_hour.value
