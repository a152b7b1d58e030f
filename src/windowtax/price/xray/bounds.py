"""Upper bounds on the cache that other prices give: cached input, storage, output over input.

A bound assumes that the seller does not lose by it: reading a cached token back takes no longer than the discount
leaves of computing it, and keeping it costs no more than is charged. Bounds are loose, but they do not need a kink.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from windowtax.price.own_lists import memory_tiers
from windowtax.price.xray.data import table
from windowtax.price.xray.priors import Chip, Interval, chips, draws, quantile
from windowtax.price.xray.shape import PriceShape

_DISCOUNT_ASKS = ("active_parameters", "number_bits", "compute_efficiency")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """An upper limit of b: median and 5 to 95 % over the priors, in B per token. why: what it follows from."""

    name: str
    limit: Interval
    why: str
    source: str


@dataclass(frozen=True, kw_only=True)
class OutputReading:
    """What an output price of `ratio` times the input price would mean if prices were costs.

    read_bytes: weights and cache read per output token, w N_total / B + L b. smallest_batch: with no cache at all.
    cache_bytes: L b with the weights shared among infinitely many.
    """

    ratio: float
    read_bytes: float
    smallest_batch: float
    active_parameters: float
    total_parameters: float
    chip: str


def recompute_s(active_parameters: float, flops_per_s: float, efficiency: float) -> float:
    """What computing one prompt token takes instead of loading it: 2 N / (eta C). Its attention comes on top."""
    return 2 * active_parameters / (efficiency * flops_per_s)


def discount_bounds(shape: PriceShape, known: Mapping[str, float]) -> tuple[Bound, ...]:
    """b <= BW_tier x 2 N_active / (eta_C C) / D for every tier a prefix could come back from."""
    discount = shape.read_discount
    if discount is None or discount <= 1:
        return ()
    found: list[Bound] = []
    for tier in table("priors", "tiers").values():
        rate, title = tier.take("bytes_per_s", float), tier.take("title", str)
        values = [
            rate * recompute_s(draw["active_parameters"], draw.flops_per_s, draw["compute_efficiency"]) / discount
            for draw in draws(_DISCOUNT_ASKS, known)
        ]
        found.append(
            Bound(
                name=f"discount, {title}",
                limit=Interval.of(values),
                why=f"cached input is {discount:g} times cheaper; from {title} it must load that much faster",
                source=f"{tier.take('source', str)}, {tier.take('date', str)}",
            )
        )
    return tuple(found)


def storage_bounds(shape: PriceShape) -> tuple[Bound, ...]:
    """b <= price of a token-hour over price of a byte-hour, in HBM and in host memory; empty without a price."""
    if shape.storage_usd_per_mtok_hour is None:
        return ()
    usd_per_token_hour = shape.storage_usd_per_mtok_hour / 1e6
    why = f"keeping a million tokens for an hour is sold at ${shape.storage_usd_per_mtok_hour:g}"
    rented = [chip for chip in chips() if chip.usd_per_byte_hour]
    limits = sorted(usd_per_token_hour / (chip.usd_per_byte_hour or 1.0) for chip in rented)
    found = [
        Bound(
            name="storage, if in HBM",
            limit=Interval(limits[0], quantile(limits, 0.5), limits[-1]),
            why=f"{why}; the whole hourly price of the chip laid on its memory",
            source="; ".join(f"{chip.title} ${chip.usd_per_hour:g}/h" for chip in rented),
        )
    ]
    memory = memory_tiers()["dram"]
    limit = usd_per_token_hour / (memory.usd_per_gb_hour.value / 1e9)
    found.append(
        Bound(
            name="storage, if in host DRAM",
            limit=Interval(limit, limit, limit),
            why=why,
            source=f"${memory.usd_per_gb_hour.value:g} per GB and hour: {memory.usd_per_gb_hour.source}",
        )
    )
    return tuple(found)


def output_reading(
    ratio: float, active_parameters: float, total_parameters: float, chip: Chip, bits: int = 8
) -> OutputReading:
    """Article 5's second inversion, kept as the curve it is: w N_total / B + L b = r x 2 N_active x BW / C.

    One number fixes two unknowns to a curve, not to a point. Peak rates: efficiencies would move it by their ratio.
    """
    read_bytes = ratio * 2 * active_parameters * chip.read_bytes_per_s / chip.flops_per_s[bits]
    return OutputReading(
        ratio=ratio,
        read_bytes=read_bytes,
        smallest_batch=bits / 8 * total_parameters / read_bytes,
        active_parameters=active_parameters,
        total_parameters=total_parameters,
        chip=chip.title,
    )
