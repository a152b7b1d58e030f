"""`windowtax price cache`: when prompt caching pays, and which life of an entry suits which gaps."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from windowtax.base.errors import BadInput
from windowtax.cli import price_text as text
from windowtax.cli.console import console
from windowtax.cli.price_words import (
    AsJson,
    At,
    Prompt,
    gap_text,
    print_json,
    seconds_of,
    sheet_of,
    sources_of,
    tokens_of,
)
from windowtax.price.caching import (
    Choice,
    Gaps,
    Multipliers,
    Rented,
    choices,
    crossover_calls,
    crossover_gap_s,
    multipliers,
    rented,
)
from windowtax.price.sheet import PriceSheet

FORMULA = (
    "w: write, r: read, both as multiples of ordinary input; 1 is what the prefix costs without a cache",
    "ordinary use: k* = (w - 1) / (1 - r) reads per write, hit rate h* = (w - 1) / (w - r)",
    "pre-warm (a call sent only to fill the cache): k = w / (1 - r)",
    "growing conversation (each turn writes its part, reads all before): T* = (2w - 1 - r) / (1 - r) turns",
    "gaps: h = P(gap <= life), for a Poisson stream 1 - e^(-life/mean); a call costs h r + (1 - h) w",
    "keep alive: bridging a pause by reads is cheaper than a new write up to life (w - r) / r",
)

List = Annotated[str | None, typer.Argument(metavar="[PROVIDER/MODEL]", help="Or give --write and --read.")]
Calls = Annotated[int | None, typer.Option(help="Calls of a session, the first one writes. Default: for ever.")]
MeanGap = Annotated[str | None, typer.Option(help="Mean time between calls, a Poisson stream: 90s, 3m, 1h.")]


def cache(
    price_list: List = None,
    write: Annotated[float | None, typer.Option(help="A write, as a multiple of ordinary input.")] = None,
    read: Annotated[float | None, typer.Option(help="A read, as a multiple of ordinary input.")] = None,
    ttl: Annotated[str, typer.Option(help="Life of an entry whose life the list does not state (assumed).")] = "5m",
    prompt: Prompt = "0",
    prefix: Annotated[float, typer.Option(help="Shared prefix of a conversation, in turns' lengths.")] = 0.0,
    mean_gap: MeanGap = None,
    every: Annotated[str | None, typer.Option(help="A fixed time between calls.")] = None,
    gaps: Annotated[Path | None, typer.Option(help="A file of observed gaps: seconds, one a line.")] = None,
    calls: Calls = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """When prompt caching pays: reads per write, hit rates, pre-warming, conversations, which life for which gaps."""
    if calls is not None and calls < 1:
        raise BadInput(f"A session of {calls} calls makes no sense.")
    sheet = None if price_list is None else sheet_of(price_list, at)
    tiers = _multipliers(sheet, write, read, seconds_of(ttl), tokens_of(prompt))
    rent = None if sheet is None else rented(sheet, tokens_of(prompt))
    stream = _gaps(mean_gap, every, gaps)
    ways = [] if stream is None else choices(tiers, stream, calls)
    said = [*_crossings(tiers, stream), *_articles(tiers)]
    if as_json:
        found = {"tiers": text.plain(tiers), "rented": text.plain(rent), "choices": text.plain(ways), "notes": said}
        paying = {tier.name: tier.first_paying_turn(prefix) for tier in tiers}
        print_json({**found, "first_paying_turn": paying, "formula": FORMULA})
        return
    out = console()
    given = "with the given multipliers" if sheet is None else f"at {sheet.provider}/{sheet.model}"
    text.heading(out, f"Prompt caching {given}")
    _print_tiers(out, tiers, prefix, rent)
    if stream is not None:
        _print_choices(out, ways, stream, calls)
    if said:
        text.section(out, "Note")
        text.notes(out, said)
    text.formula(out, [*FORMULA, *([] if sheet is None else sources_of(sheet))])


def _print_tiers(out: Console, tiers: list[Multipliers], prefix: float, rent: Rented | None) -> None:
    rows = {
        "write w, read r": [f"{tier.write:g}, {tier.read:g}" for tier in tiers],
        "ordinary: reads per write": [f"{tier.reads_per_write:.3f}" for tier in tiers],
        "ordinary: in whole reads": [f"{tier.whole_reads}" for tier in tiers],
        "ordinary: hit rate": [f"{tier.hit_rate:.1%}" for tier in tiers],
        "pre-warm: reads (hit rate)": [f"{one.prewarm_reads:.3f} ({one.prewarm_hit_rate:.1%})" for one in tiers],
        "conversation: turns": [f"{tier.turns:.2f}" for tier in tiers],
        f"  first paying, prefix {prefix:g}": [f"{tier.first_paying_turn(prefix) or 'none'}" for tier in tiers],
        "longest mean gap (Poisson)": [gap_text(tier.longest_poisson_gap_s) for tier in tiers],
        "keep alive by reads up to": [gap_text(tier.keep_alive_s) for tier in tiers],
    }
    text.table(out, [("", *(tier.name for tier in tiers)), *((name, *cells) for name, cells in rows.items())])
    if rent is not None:
        made = f"{rent.reads_for(1):.2f} pay for making it and one hour"
        keep = f"{rent.storage:g} of ordinary input an hour; {rent.reads_per_hour:.2f} reads an hour keep it"
        text.notes(out, [f"rented by the hour: {keep}, {made}"])


def _print_choices(out: Console, ways: list[Choice], stream: Gaps, calls: int | None) -> None:
    span = "For ever" if calls is None else f"A session of {calls:,} calls"
    text.section(out, f"{span}, mean gap {gap_text(stream.mean_s)}")
    lines = [(way.name, f"{way.hit_rate:.1%}", f"{way.relative_cost:.3f}") for way in ways]
    text.table(out, [("cheapest first", "hit rate", "of ordinary input"), *lines])


def _crossings(tiers: list[Multipliers], stream: Gaps | None) -> list[str]:
    if len(tiers) < 2 or stream is None:
        return []
    short, long = tiers[0], tiers[-1]
    said: list[str] = []
    calls, gap = crossover_calls(short, long, stream), crossover_gap_s(short, long)
    if calls is not None:
        said.append(
            f"at these gaps {long.name} is cheaper than {short.name} in sessions of more than {calls:,.1f} calls"
        )
    if gap is not None:
        said.append(f"for ever and Poisson: {long.name} beats {short.name} for mean gaps below {gap_text(gap)}")
    return said


def _articles(tiers: list[Multipliers]) -> list[str]:
    """Article 1's two figures, recomputed where a list has both lives: they answer two different questions."""
    lives = {tier.name: tier for tier in tiers}
    if not {"5 min", "1 h"} <= set(lives):
        return []
    short, long = lives["5 min"], lives["1 h"]
    whole = long.whole_reads
    return [
        f"article 1's 1.4 reads per write is the 5 min pre-warm, {short.prewarm_reads:.3f}; ordinary use needs "
        f"{short.reads_per_write:.3f}",
        f"its 67 % is {whole} whole reads in {whole + 1} calls, {whole / (whole + 1):.1%}; the 1 h break-even is "
        f"{long.hit_rate:.1%}, pre-warmed {long.prewarm_hit_rate:.1%}",
        "on one stream of calls the longer life never has the lower hit rate, and a read is never free",
    ]


def _multipliers(
    sheet: PriceSheet | None, write: float | None, read: float | None, ttl_s: float, prompt_tokens: int
) -> list[Multipliers]:
    if write is not None and read is not None:
        return [Multipliers(name="given", write=write, read=read, ttl_s=ttl_s)]
    if sheet is None or write is not None or read is not None:
        raise BadInput(
            "Neither a price list nor both multipliers were given.", "Name PROVIDER/MODEL, or give --write and --read."
        )
    return multipliers(sheet, prompt_tokens, ttl_s)


def _gaps(mean_gap: str | None, every: str | None, path: Path | None) -> Gaps | None:
    if sum(one is not None for one in (mean_gap, every, path)) > 1:
        raise BadInput("More than one of --mean-gap, --every and --gaps was given.", "They exclude each other.")
    if mean_gap is not None:
        return Gaps(mean_s=seconds_of(mean_gap))
    if every is not None:
        return Gaps(mean_s=seconds_of(every), poisson=False)
    if path is None:
        return None
    try:
        return Gaps.of([float(line) for line in path.read_text(encoding="utf-8").split()])
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as gaps: {error}", "One number of seconds a line.") from error
