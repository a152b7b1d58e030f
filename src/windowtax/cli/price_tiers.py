"""`windowtax price tiers`: keeping a cache in HBM, DRAM, SSD or object storage against computing it again."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_seconds
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.cli import price_text as text
from windowtax.cli.console import console
from windowtax.cli.price_words import AsJson, At, print_json, sheet_of, tokens_of
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.price.own_lists import MemoryTier
from windowtax.price.tiers import Kept, PublishedTier, Recompute, kept, published_tiers, tiers_of
from windowtax.spec.hardware import Hardware
from windowtax.spec.workload import Workload

FORMULA = (
    "Mtok-hour: KV bytes per token (the spec's layout) x 10^6 x USD per GB-hour",
    "keep up to: (recompute - load) USD / hold USD per hour; recompute: the plan's TTFT x rent of its accelerators",
    "most discount: recompute seconds / load seconds, the largest cache-read discount that the tier can carry",
)

HardwareName = Annotated[str, typer.Option("--hardware", help="A device of the catalog, or this-machine.")]
Gpus = Annotated[int | None, typer.Option(help="Exactly so many accelerators. Default: the fewest that hold it.")]
UsdPerHour = Annotated[float | None, typer.Option(help="Price of one accelerator, instead of the catalog's.")]
ListOption = Annotated[
    str | None, typer.Option("--list", help="PROVIDER/MODEL whose published tiers to set beside them.")
]


def tiers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A catalog name, a config.json, or a .gguf file.")],
    context: Annotated[str, typer.Option(help="Tokens of the kept cache: 131072 or 128K.")] = "128K",
    hardware: HardwareName = "h100-sxm",
    gpus: Gpus = None,
    usd_per_hour: UsdPerHour = None,
    usd_per_gb_hour: Annotated[
        list[str] | None, typer.Option(help="Your own rent of a tier, ssd=0.00005; once per tier.")
    ] = None,
    cache_dtype: Annotated[str, typer.Option(help="Bits of keys and values.")] = "checkpoint",
    weights: Annotated[str, typer.Option(help="Bits of the weights.")] = "checkpoint",
    price_list: ListOption = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """What keeping a cache costs in HBM, DRAM, SSD and object storage, against computing it again."""
    tokens, device = tokens_of(context), device_of(hardware, usd_per_hour)
    made = make_plan(
        read_model(model),
        device,
        Workload(context_tokens=tokens + 1, output_tokens=1),
        PlanOptions(cache_dtype=cache_dtype, weights=weights, accelerators=gpus),
    )
    if made.times is None or made.costs is None:
        why = "; ".join(made.warnings) or f"No price is known for {device.title}."
        raise BadInput(why, "Give --usd-per-hour or --gpus.")
    recompute = Recompute(seconds=made.times.ttft.overlap_s, usd_per_hour=made.costs.usd_per_hour)
    ways = _repriced(tiers_of(made.hardware), usd_per_gb_hour or [])
    accelerators = made.fit.deployment.accelerators
    rows = [kept(made.layout, tokens, tier, recompute, accelerators) for tier in ways]
    published = [] if price_list is None else published_tiers(sheet_of(price_list, at), ways, tokens)
    if as_json:
        found: dict[str, Any] = {"model": made.spec.name, "tokens": tokens, "accelerators": accelerators}
        found |= {"recompute": text.plain(recompute), "tiers": text.plain(rows), "published": text.plain(published)}
        print_json({**found, "formula": FORMULA})
        return
    out = console()
    size = made.layout.bytes_for(tokens)
    text.heading(
        out, f"{made.spec.name}, {tokens:,} tokens, {size:,} B ({format_bytes(size)}) of {made.dtype.name} cache"
    )
    machines = f"{accelerators} x {device.title} at ${recompute.usd_per_hour:,.2f}/h"
    again = (
        f"computing it again: {format_seconds(recompute.seconds)} on {machines} = {text.usd(recompute.usd)} (derived)"
    )
    text.notes(out, [again])
    _print_kept(out, rows)
    if published:
        text.section(out, f"Published tiers of {price_list}")
        _print_published(out, published, ways)
    text.formula(out, [*FORMULA, *_sources(rows)])


def device_of(name: str, usd_per_hour: float | None) -> Hardware:
    """A device of the catalog, at the caller's price where one is given. Raises UnknownName, BadInput."""
    device = find_hardware(name)
    return device if usd_per_hour is None else device.priced(usd_per_hour, datetime.now(tz=UTC).date().isoformat())


def _repriced(ways: tuple[MemoryTier, ...], wishes: list[str]) -> tuple[MemoryTier, ...]:
    found = {tier.name: tier for tier in ways}
    for wish in wishes:
        name, _, price = wish.partition("=")
        try:
            found[name] = found[name].priced(float(price), datetime.now(tz=UTC).date().isoformat())
        except (KeyError, ValueError) as error:
            raise BadInput(f"{wish!r} prices no tier.", f"Write TIER=USD, of {', '.join(found)}.") from error
    return tuple(found.values())


def _print_kept(out: Console, rows: list[Kept]) -> None:
    lines: list[tuple[str, ...]] = [("", "USD/GB-h", "USD/Mtok-h", "USD/h", "load", "most discount", "keep up to")]
    for row in rows:
        price = (f"{row.tier.usd_per_gb_hour.value:.3g}", text.usd(row.usd_per_mtok_hour), text.usd(row.usd_per_hour))
        load = (format_seconds(row.load_s), f"{row.most_discount:,.1f}")
        in_place = row.tier.name == "hbm"
        keep = text.hours(row.keep_hours) if row.pays else "never"
        lines.append((row.tier.name, *price, *(("in place", "-") if in_place else load), keep))
    text.table(out, lines)


def _print_published(out: Console, published: list[PublishedTier], ways: tuple[MemoryTier, ...]) -> None:
    lines: list[tuple[str, ...]] = [("", "USD/Mtok-h", "saved", "keep up to", *(tier.name for tier in ways))]
    for one in published:
        prices = (text.usd(one.usd_per_mtok_hour), text.usd(one.recompute_usd_per_mtok), text.hours(one.keep_hours))
        lines.append((one.name, *prices, *(format_bytes(one.bytes_per_token_if[tier.name]) for tier in ways)))
    text.table(out, lines)
    text.notes(
        out,
        [
            "saved: USD that a million tokens cost more as ordinary input than read from the cache",
            "hbm to object: bytes per token that this price would just rent there, an upper bound if it covers costs",
        ],
    )


def _sources(rows: list[Kept]) -> list[str]:
    prices = [f"{row.tier.name}: {row.tier.usd_per_gb_hour.basis}, {row.tier.usd_per_gb_hour.source}" for row in rows]
    speeds = [
        f"{row.tier.name} load: {row.tier.read_bytes_per_s.basis}, {row.tier.read_bytes_per_s.source}"
        for row in rows
        if row.tier.name != "hbm"
    ]
    return [*prices, *speeds]
