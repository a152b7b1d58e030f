"""Prompt-caching economics: when does writing a prefix into a seller's cache pay, and for how long should it live?

Everything is in units of what the prefix costs as ordinary input. With w for a write and r for a read:

A. Ordinary use: the writing call would have paid 1 anyway. w + k r = 1 + k, so k* = (w - 1) / (1 - r) reads per write,
   a hit rate of h* = (w - 1) / (w - r).
B. Pre-warming: a call is sent only to fill the cache. w + k r = k, so k = w / (1 - r).
C. A growing conversation: every turn writes its own part and reads all before it. With equal parts and T turns
   w T + r T (T - 1) / 2 = T (T + 1) / 2, so T* = (2 w - 1 - r) / (1 - r).
D. Gaps between calls with P(gap <= ttl) = h, a read renewing the life: a call costs h r + (1 - h) w in the long run,
   and caching pays while that is below 1, which is h >= h*.
E. A cache rented by the hour at s per hour for H hours: the write costs 1 + s H, then as B; to keep it running takes
   s / (1 - r) reads an hour.

Derived here from the definitions; the numbers agree with facts/prices-and-recall.md 1c.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.price.sheet import PriceSheet, Rates

FIVE_MINUTES_S, HOUR_S = 300.0, 3600.0


@dataclass(frozen=True, kw_only=True)
class Multipliers:
    """What a write and a read of a prefix cost, as multiples of ordinary input, and how long the entry lives in s.

    Raises BadInput where reading is not cheaper than ordinary input: such a cache can save nothing.
    """

    name: str
    write: float
    read: float
    ttl_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.read < 1:
            raise BadInput(f"{self.name}: a read at {self.read:g} of ordinary input saves nothing.")
        if self.write < 0 or self.ttl_s <= 0:
            raise BadInput(f"{self.name}: a write at {self.write:g} that lives {self.ttl_s:g} s makes no sense.")

    @property
    def reads_per_write(self) -> float:
        """A: k*, the reads that each write needs. Zero where writing costs nothing extra."""
        return max(0.0, (self.write - 1) / (1 - self.read))

    @property
    def hit_rate(self) -> float:
        """A: h*, the share of calls that must find the prefix."""
        return 0.0 if self.write <= 1 else (self.write - 1) / (self.write - self.read)

    @property
    def whole_reads(self) -> int:
        """A in whole reads of a single write: the rule of thumb of sellers' pages."""
        return math.ceil(self.reads_per_write - 1e-12)

    @property
    def prewarm_reads(self) -> float:
        """B: the reads that pay for a call sent only to fill the cache."""
        return self.write / (1 - self.read)

    @property
    def prewarm_hit_rate(self) -> float:
        """B as a hit rate: k / (k + 1)."""
        return self.prewarm_reads / (self.prewarm_reads + 1)

    @property
    def turns(self) -> float:
        """C: the turns of a conversation of equal parts at which caching has paid."""
        return (2 * self.write - 1 - self.read) / (1 - self.read)

    @property
    def longest_poisson_gap_s(self) -> float:
        """D: the longest mean gap of a Poisson stream at which caching pays; infinite where writes cost nothing."""
        return math.inf if self.hit_rate == 0 else -self.ttl_s / math.log(1 - self.hit_rate)

    @property
    def keep_alive_s(self) -> float:
        """The longest pause that is cheaper to bridge by reads that renew the entry than by writing it again.

        Bridging costs r per ttl, a new write instead of a read w - r: worth it up to ttl (w - r) / r.
        """
        return math.inf if self.read == 0 else self.ttl_s * (self.write - self.read) / self.read

    def call_cost(self, hit_rate: float) -> float:
        """D: what a call's prefix costs in the long run, 1 being ordinary input."""
        return hit_rate * self.read + (1 - hit_rate) * self.write

    def session_cost(self, calls: int, hit_rate: float) -> float:
        """What the prefix costs in a session of so many calls, the first of which writes."""
        return self.write + (calls - 1) * self.call_cost(hit_rate) if calls else 0.0

    def conversation_cost(self, turns: int, prefix: float = 0.0) -> float:
        """C with every hit: turns of one unit each behind a shared prefix of so many units, all of it cached."""
        earlier = turns * (turns - 1) / 2
        return self.write * (prefix + turns) + self.read * (prefix * (turns - 1) + earlier)

    def first_paying_turn(self, prefix: float = 0.0, most: int = 10_000) -> int | None:
        """The first whole number of turns at which the cached conversation is not dearer; None up to `most`."""
        return next(
            (
                turns
                for turns in range(1, most + 1)
                if self.conversation_cost(turns, prefix) <= plain_conversation_cost(turns, prefix) + 1e-12
            ),
            None,
        )


def plain_conversation_cost(turns: int, prefix: float = 0.0) -> float:
    """The same conversation without a cache: every turn pays for all before it."""
    return turns * prefix + turns * (turns + 1) / 2


@dataclass(frozen=True, kw_only=True)
class Rented:
    """E: a cache rented by the hour. storage: per hour, as a multiple of ordinary input."""

    storage: float
    read: float

    @property
    def reads_per_hour(self) -> float:
        """Reads an hour that pay for keeping it."""
        return self.storage / (1 - self.read)

    def reads_for(self, hours: float) -> float:
        """Reads that pay for making it (as ordinary input) and keeping it for so many hours."""
        return (1 + self.storage * hours) / (1 - self.read)


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The times between calls that use the same prefix, in s: a Poisson stream, one fixed gap, or observed ones."""

    mean_s: float
    observed_s: tuple[float, ...] = ()
    poisson: bool = True

    @classmethod
    def of(cls, observed_s: Sequence[float]) -> "Gaps":
        """From measured gaps. Raises BadInput without any, or with a negative one."""
        if not observed_s or min(observed_s) < 0:
            raise BadInput("Gaps must be at least one time in seconds, none below zero.")
        return cls(mean_s=sum(observed_s) / len(observed_s), observed_s=tuple(observed_s), poisson=False)

    def __post_init__(self) -> None:
        if not self.mean_s >= 0 or math.isinf(self.mean_s):
            raise BadInput(f"A mean gap of {self.mean_s:g} s makes no sense.")

    def hit_rate(self, ttl_s: float) -> float:
        """The share of calls that come before the entry has died: P(gap <= ttl), every use renewing it."""
        if self.observed_s:
            return sum(gap <= ttl_s for gap in self.observed_s) / len(self.observed_s)
        if not self.poisson:
            return 1.0 if self.mean_s <= ttl_s else 0.0
        return 1.0 if self.mean_s == 0 else -math.expm1(-ttl_s / self.mean_s)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way of treating the prefix: its hit rate, and what it costs per call or session relative to no cache."""

    name: str
    hit_rate: float
    relative_cost: float


def choices(tiers: Sequence[Multipliers], gaps: Gaps, calls: int | None = None) -> list[Choice]:
    """Every tier and "no cache" for these gaps, cheapest first. calls: of a session; None for the long run."""
    found = [Choice(name="no cache", hit_rate=0.0, relative_cost=1.0)]
    for tier in tiers:
        rate = gaps.hit_rate(tier.ttl_s)
        cost = tier.call_cost(rate) if calls is None else tier.session_cost(calls, rate) / calls
        found.append(Choice(name=tier.name, hit_rate=rate, relative_cost=cost))
    return sorted(found, key=lambda one: one.relative_cost)


def crossover_calls(short: Multipliers, long: Multipliers, gaps: Gaps) -> float | None:
    """The calls of a session above which the longer life is cheaper; None where it never is.

    The dearer first write, w_long - w_short, is won back at short.call_cost - long.call_cost per further call.
    """
    gain = short.call_cost(gaps.hit_rate(short.ttl_s)) - long.call_cost(gaps.hit_rate(long.ttl_s))
    return None if gain <= 0 else 1 + max(0.0, long.write - short.write) / gain


def crossover_gap_s(short: Multipliers, long: Multipliers) -> float | None:
    """The mean Poisson gap below which the longer life is cheaper in the long run.

    (w_short - r) e^(-t_short / g) = (w_long - r) e^(-t_long / g). None where the read prices differ or the longer life
    costs no more (it is then always as cheap).
    """
    if short.read != long.read or long.write <= short.write or short.write <= short.read:
        return None
    ratio = math.log((long.write - long.read) / (short.write - short.read))
    return (long.ttl_s - short.ttl_s) / ratio


def multipliers(sheet: PriceSheet, prompt_tokens: int = 0, ttl_s: float = FIVE_MINUTES_S) -> list[Multipliers]:
    """The write tiers of a list as multiples of its input price, shortest life first.

    A list with a read price and no write price caches by itself: its write is ordinary input (w = 1), and its life is
    not published. ttl_s: the life taken for that, and for a write whose life the list does not state (assumed).
    Raises BadInput where the list has no input or no cache-read price.
    """
    rates: Rates = sheet.rates(prompt_tokens)
    if rates.input is None or not rates.input or rates.cache_read is None:
        raise BadInput(
            f"{sheet.provider}/{sheet.model} has no price for cache reads, so there is nothing to break even.",
            "`windowtax price bill` still tells what a call costs there.",
        )
    read = float(rates.cache_read / rates.input)
    found: list[Multipliers] = []
    if rates.write_5m is not None and rates.write_1h is not None:
        found.append(Multipliers(name="5 min", write=float(rates.write_5m / rates.input), read=read, ttl_s=ttl_s))
    elif rates.write_5m is not None:
        found.append(Multipliers(name="write", write=float(rates.write_5m / rates.input), read=read, ttl_s=ttl_s))
    if rates.write_1h is not None:
        found.append(Multipliers(name="1 h", write=float(rates.write_1h / rates.input), read=read, ttl_s=HOUR_S))
    if not found:
        found.append(Multipliers(name="automatic", write=1.0, read=read, ttl_s=ttl_s))
    return found


def rented(sheet: PriceSheet, prompt_tokens: int = 0) -> Rented | None:
    """The cache of a list that charges storage by the hour; None where it does not."""
    rates = sheet.rates(prompt_tokens)
    if sheet.storage_usd_per_mtok_hour is None or not rates.input or rates.cache_read is None:
        return None
    return Rented(
        storage=float(sheet.storage_usd_per_mtok_hour / rates.input), read=float(rates.cache_read / rates.input)
    )
