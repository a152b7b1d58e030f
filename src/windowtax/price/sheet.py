"""A price list of one model at one seller on one day: rates, cliffs, and what a call costs by them.

Every length tier here is a cliff: a prompt of more than so many tokens moves the whole request to other rates, its
cached and its generated tokens too. No seller in the data bills only the tokens beyond the line
(facts: genai-prices' TieredPrices; Anthropic's, xAI's and Alibaba's own wording in the rows' comments).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from windowtax.base.errors import BadInput

MTOK = Decimal(1_000_000)
RATE_NAMES = ("input", "output", "cache_read", "write_5m", "write_1h")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """USD per million tokens; None where the list has no such price. write_5m is also the write of unstated life."""

    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    write_5m: Decimal | None = None
    write_1h: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """Prompts of more than `above_tokens` tokens pay `rates` on everything."""

    above_tokens: int
    rates: Rates

    @property
    def inclusive(self) -> bool:
        """Whether the seller counts the round number itself to the tier: then it is held as one less."""
        return (self.above_tokens + 1) % 1000 == 0

    @property
    def label(self) -> str:
        """The tier in words. xAI's lines include the round number, so its rows hold 199,999."""
        inclusive = f" ({self.above_tokens + 1:,} or more)" if self.inclusive else ""
        return f"above {self.above_tokens:,} prompt tokens{inclusive}: the whole request at the higher rate"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The tokens of one call. prompt_tokens include those read from and written to the seller's cache.

    Raises BadInput where the parts do not fit into the prompt.
    """

    prompt_tokens: int
    output_tokens: int = 0
    cached_tokens: int = 0
    write_5m_tokens: int = 0
    write_1h_tokens: int = 0

    def __post_init__(self) -> None:
        parts = (self.cached_tokens, self.write_5m_tokens, self.write_1h_tokens)
        if min(self.prompt_tokens, self.output_tokens, *parts) < 0 or sum(parts) > self.prompt_tokens:
            raise BadInput(
                f"{self.prompt_tokens:,} prompt tokens, {self.cached_tokens:,} of them cached, "
                f"{self.write_5m_tokens + self.write_1h_tokens:,} written to the cache, and {self.output_tokens:,} "
                "output tokens make no sense.",
                "Cached and written tokens are parts of the prompt.",
            )

    @property
    def fresh_tokens(self) -> int:
        """Prompt tokens that are neither read from nor written to the cache."""
        return self.prompt_tokens - self.cached_tokens - self.write_5m_tokens - self.write_1h_tokens

    def trimmed(self, tokens: int) -> "Usage":
        """The same call with so many prompt tokens less: fresh ones first, then written ones, cached ones last."""
        left = tokens
        counts = [self.fresh_tokens, self.write_5m_tokens, self.write_1h_tokens, self.cached_tokens]
        for index, count in enumerate(counts):
            counts[index] = count - min(count, left)
            left -= min(count, left)
        return replace(
            self,
            prompt_tokens=sum(counts),
            write_5m_tokens=counts[1],
            write_1h_tokens=counts[2],
            cached_tokens=counts[3],
        )


@dataclass(frozen=True, kw_only=True)
class PriceSheet:
    """The rates of one model at one seller as of `at`.

    cliffs: ascending. window_tokens: what the list says the model takes, None where it does not say. service:
    "standard", "batch", "flex", "priority" or "fast". storage_usd_per_mtok_hour: for caches that are kept by the hour.
    refused_above: the longest prompt that the seller still takes where the list has rates beyond it. source, checked:
    which data, and the day it was last compared by hand ("" where this release of it was not).
    """

    provider: str
    model: str
    base: Rates
    cliffs: tuple[Cliff, ...] = ()
    window_tokens: int | None = None
    service: str = "standard"
    storage_usd_per_mtok_hour: Decimal | None = None
    storage_source: str = ""
    at: datetime
    source: str
    checked: str
    notes: tuple[str, ...] = ()
    refused_above: int | None = None

    def cliff(self, prompt_tokens: int) -> Cliff | None:
        """The last cliff that a prompt of this length is past."""
        passed = [cliff for cliff in self.cliffs if prompt_tokens > cliff.above_tokens]
        return passed[-1] if passed else None

    def next_cliff(self, prompt_tokens: int) -> Cliff | None:
        """The first cliff that a prompt of this length has not passed."""
        return next((cliff for cliff in self.cliffs if prompt_tokens <= cliff.above_tokens), None)

    def rates(self, prompt_tokens: int) -> Rates:
        """The rates that a prompt of this length pays."""
        cliff = self.cliff(prompt_tokens)
        return self.base if cliff is None else cliff.rates

    def cost(self, usage: Usage, rates: Rates | None = None) -> "Cost":
        """What the call costs, in USD. rates: others than the ones in force. Raises BadInput on writes without price.

        A cache without a read price bills its tokens as ordinary input, and so does one without any write price.
        """
        found = rates or self.rates(usage.prompt_tokens)
        fresh, output = found.input or Decimal(0), found.output or Decimal(0)
        if usage.write_1h_tokens and found.write_1h is None and found.write_5m is not None:
            raise BadInput(
                f"{self.provider}/{self.model} lists no price for a cache write of one hour.",
                "Leave --write-1h out, or use --write-5m: this list has a price for that.",
            )
        read = fresh if found.cache_read is None else found.cache_read
        write_5m = fresh if found.write_5m is None else found.write_5m
        write_1h = fresh if found.write_1h is None else found.write_1h
        return Cost(
            fresh_usd=fresh * usage.fresh_tokens / MTOK,
            cached_usd=read * usage.cached_tokens / MTOK,
            write_usd=(write_5m * usage.write_5m_tokens + write_1h * usage.write_1h_tokens) / MTOK,
            output_usd=output * usage.output_tokens / MTOK,
        )

    def usage_notes(self, usage: Usage) -> Iterator[str]:
        """What must be known before believing the bill of this call."""
        rates = self.rates(usage.prompt_tokens)
        yield from self.notes
        if usage.cached_tokens and rates.cache_read is None:
            yield "this list has no price for cached tokens; they are billed as ordinary input"
        if (usage.write_5m_tokens or usage.write_1h_tokens) and rates.write_5m is None and rates.write_1h is None:
            yield "this list has no surcharge for cache writes; they are billed as ordinary input"
        if usage.output_tokens and rates.output is None:
            yield "this list has no price for output tokens; they are billed as nothing"
        if self.refused_above is not None and usage.prompt_tokens > self.refused_above:
            yield f"the seller refuses prompts above {self.refused_above:,} tokens; the rate is historical"
        elif self.window_tokens is not None and usage.prompt_tokens > self.window_tokens:
            yield f"the prompt is longer than this model's window of {self.window_tokens:,} tokens"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Dollars of one call by what they are paid for."""

    fresh_usd: Decimal
    cached_usd: Decimal
    write_usd: Decimal
    output_usd: Decimal

    @property
    def input_usd(self) -> Decimal:
        """All of the prompt: fresh, read from the cache and written to it."""
        return self.fresh_usd + self.cached_usd + self.write_usd

    @property
    def total_usd(self) -> Decimal:
        """The whole call."""
        return self.input_usd + self.output_usd
