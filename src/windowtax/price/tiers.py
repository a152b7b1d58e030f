"""Keeping a cache or computing it again: dollars per token-hour in HBM, DRAM, SSD, and what a recompute costs.

hold = bytes per token x USD per byte-hour. A kept cache pays while it is used again within
T* = recompute USD / hold USD per hour; coming back it takes bytes / bandwidth against the prefill's seconds, and it is
worth loading at all only where that is shorter. How long a prefill takes is the caller's: price/ does not plan.
"""

from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.base.sourced import Basis, Sourced
from windowtax.price.own import usd_for_seconds
from windowtax.price.own_lists import MemoryTier, memory_tiers
from windowtax.price.sheet import PriceSheet
from windowtax.spec.cache import CacheLayout
from windowtax.spec.hardware import Hardware

GB = 1e9
MTOK = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Recompute:
    """A prefill that a kept cache saves: its seconds, on machines of so many dollars an hour together."""

    seconds: float
    usd_per_hour: float

    @property
    def usd(self) -> float:
        """Dollars of the machine while it computes."""
        return usd_for_seconds(self.usd_per_hour, self.seconds)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One cache in one tier, against computing it again.

    usd_per_mtok_hour: of a million tokens of this context kept for an hour. usd_per_hour: of this cache. load_s: until
    it is back in the accelerator. keep_hours: T*, how long it may wait for its next use and still pay.
    most_discount: recompute seconds over load seconds, the largest cache-read discount that this tier can carry.
    """

    tier: MemoryTier
    tokens: int
    bytes: int
    usd_per_mtok_hour: float
    usd_per_hour: float
    load_s: float
    load_usd: float
    keep_hours: float
    most_discount: float

    @property
    def pays(self) -> bool:
        """Whether loading is faster than computing again."""
        return self.most_discount > 1


def hbm_tier(hardware: Hardware) -> MemoryTier:
    """The accelerator's own memory as a tier: all of its rent over all of its memory. Raises BadInput without a price.

    Cache that stays there is read in place: the copy within HBM is the speed of reading it once.
    """
    price = hardware.usd_per_hour
    if price is None:
        raise BadInput(f"No price is known for {hardware.title}.", "Give one with --usd-per-hour.")
    per_gb = price.value / (hardware.memory_bytes.value / GB)
    return MemoryTier(
        name="hbm",
        title=f"{hardware.title}, its own memory",
        usd_per_gb_hour=Sourced(
            per_gb, "USD/GB-h", Basis.DERIVED, f"{price.value:g} USD/h over its memory; {price.source}", price.date
        ),
        read_bytes_per_s=Sourced(
            hardware.cache_bytes_per_s, "B/s", Basis.DERIVED, "bandwidth times what is reached on a cache", price.date
        ),
        per_accelerator=True,
    )


def tiers_of(hardware: Hardware) -> tuple[MemoryTier, ...]:
    """HBM of that device, then the tiers of catalog/prices/memory-tiers.toml. Raises BadInput without a price."""
    return (hbm_tier(hardware), *memory_tiers().values())


def kept(layout: CacheLayout, tokens: int, tier: MemoryTier, recompute: Recompute, accelerators: int = 1) -> Kept:
    """One context of so many tokens kept in a tier. accelerators: they load their shares at the same time.

    Raises BadInput without any token.
    """
    if tokens < 1 or accelerators < 1:
        raise BadInput(f"{tokens} tokens on {accelerators} accelerators make no sense.")
    size = layout.bytes_for(tokens)
    hour = size / GB * tier.usd_per_gb_hour.value
    load_s = size / (tier.read_bytes_per_s.value * (accelerators if tier.per_accelerator else 1))
    return Kept(
        tier=tier,
        tokens=tokens,
        bytes=size,
        usd_per_mtok_hour=hour / tokens * MTOK,
        usd_per_hour=hour,
        load_s=load_s,
        load_usd=usd_for_seconds(recompute.usd_per_hour, load_s),
        keep_hours=(recompute.usd - usd_for_seconds(recompute.usd_per_hour, load_s)) / hour if hour else float("inf"),
        most_discount=recompute.seconds / load_s if load_s else float("inf"),
    )


@dataclass(frozen=True, kw_only=True)
class PublishedTier:
    """What a seller charges for keeping a million tokens for an hour, and how that is known.

    recompute_usd_per_mtok: what reading them anew costs more than reading them from the cache. keep_hours: T*.
    bytes_per_token_if: by tier name, the bytes per token that this price would just rent there: an upper bound on the
    seller's own cache, if the price covers its cost.
    """

    name: str
    usd_per_mtok_hour: float
    recompute_usd_per_mtok: float
    basis: Basis
    source: str
    bytes_per_token_if: dict[str, float]

    @property
    def keep_hours(self) -> float:
        """T*: how long a token may wait for its next use and still pay."""
        return self.recompute_usd_per_mtok / self.usd_per_mtok_hour if self.usd_per_mtok_hour else float("inf")


def published_tiers(sheet: PriceSheet, tiers: tuple[MemoryTier, ...], prompt_tokens: int = 0) -> list[PublishedTier]:
    """A list's storage price, and what its write surcharges come to per hour of life. Empty where it has neither.

    A surcharge of (w - 1) p buys one life; per hour that is (w - 1) p / ttl. It is derived, and an upper bound: reads
    renew the life at no further charge.
    """
    rates = sheet.rates(prompt_tokens)
    if rates.input is None or rates.cache_read is None:
        return []
    saved = float(rates.input - rates.cache_read)
    found: list[tuple[str, float, Basis, str]] = []
    if sheet.storage_usd_per_mtok_hour is not None:
        found.append(("storage", float(sheet.storage_usd_per_mtok_hour), Basis.DATASHEET, sheet.storage_source))
    # A write price without a one-hour one beside it has no stated life, so it says nothing per hour.
    lives = (
        ("5 min write", rates.write_5m if rates.write_1h is not None else None, 12),
        ("1 h write", rates.write_1h, 1),
    )
    for name, write, lives_per_hour in lives:
        if write is not None and write > rates.input:
            per_hour = float(write - rates.input) * lives_per_hour
            found.append(
                (name, per_hour, Basis.DERIVED, f"the surcharge times {lives_per_hour} an hour; {sheet.source}")
            )
    return [
        PublishedTier(
            name=name,
            usd_per_mtok_hour=price,
            recompute_usd_per_mtok=saved,
            basis=basis,
            source=source,
            bytes_per_token_if={tier.name: price / MTOK / tier.usd_per_gb_hour.value * GB for tier in tiers},
        )
        for name, price, basis, source in found
    ]
