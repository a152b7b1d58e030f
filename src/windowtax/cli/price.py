"""`windowtax price`: bills at price lists, prompt-caching break-evens, kept cache, long context against retrieval."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from windowtax.base.errors import BadInput
from windowtax.cli import price_cache, price_retrieval, price_tiers
from windowtax.cli import price_text as text
from windowtax.cli.console import console
from windowtax.cli.price_words import (
    AsJson,
    At,
    Batch,
    Cached,
    List,
    Output,
    Prompt,
    Service,
    moment,
    print_json,
    sheet_of,
    sources_of,
    tokens_of,
)
from windowtax.price.api import bill_of, compare_bills, default_price_lists
from windowtax.price.cliff import JUST_PAST, cliff_guard
from windowtax.price.lists import PriceList, daily_windows, price_changes, price_sheet
from windowtax.price.litellm import cross_check
from windowtax.price.own_lists import own_list
from windowtax.price.sheet import PriceSheet, Rates, Usage

app = typer.Typer(no_args_is_help=True, help="What tokens cost: bills, caches, tiers, long context against retrieval.")

BILL_FORMULA = (
    "total = fresh x input + cached x cache read + written x cache write + output x output, per million tokens",
    "a prompt past a tier pays the tier's rates on every token of the request: tiers are cliffs, not margins",
    "trimming drops fresh tokens first, then written, then cached ones",
)


@app.command()
def bill(
    price_list: List,
    prompt: Prompt = "128K",
    output: Output = "0",
    cached: Cached = "0",
    write_5m: Annotated[str, typer.Option("--write-5m", help="Of the prompt: written for five minutes.")] = "0",
    write_1h: Annotated[str, typer.Option("--write-1h", help="Of the prompt: written for one hour.")] = "0",
    batch: Batch = False,
    service: Service = "standard",
    at: At = None,
    guard: Annotated[
        float, typer.Option(help="Just past a tier: at most this share of the prompt over it.")
    ] = JUST_PAST,
    as_json: AsJson = False,
) -> None:
    """What one call costs at a price list, and what trimming it below a tier would save."""
    sheet = sheet_of(price_list, at, "batch" if batch else service)
    usage = Usage(
        prompt_tokens=tokens_of(prompt),
        output_tokens=tokens_of(output),
        cached_tokens=tokens_of(cached),
        write_5m_tokens=tokens_of(write_5m),
        write_1h_tokens=tokens_of(write_1h),
    )
    if not guard >= 0:
        raise BadInput(f"A share of {guard:g} over a tier makes no sense.", "Give --guard a share such as 0.05.")
    made, check = bill_of(sheet, usage), cross_check(sheet, usage.prompt_tokens)
    watch, rates = cliff_guard(sheet, usage, guard), sheet.rates(usage.prompt_tokens)
    cost = sheet.cost(usage)
    if as_json:
        print_json(
            {**text.plain(made), "guard": text.plain(watch), "cross_check": text.plain(check), "formula": BILL_FORMULA}
        )
        return
    out = console()
    text.heading(out, f"{sheet.provider}/{sheet.model}, {sheet.service}, {sheet.at:%Y-%m-%d %H:%M} UTC")
    written = usage.write_5m_tokens + usage.write_1h_tokens
    write_rate = rates.write_1h if usage.write_1h_tokens and not usage.write_5m_tokens else rates.write_5m
    lines = [("", "tokens", "USD/Mtok", "USD")]
    lines.append(("fresh input", f"{usage.fresh_tokens:,}", text.rate(rates.input), text.usd(cost.fresh_usd)))
    lines.append(("cache read", f"{usage.cached_tokens:,}", text.rate(rates.cache_read), text.usd(cost.cached_usd)))
    lines.append(("cache write", f"{written:,}", text.rate(write_rate), text.usd(cost.write_usd)))
    lines.append(("output", f"{usage.output_tokens:,}", text.rate(rates.output), text.usd(cost.output_usd)))
    lines.append(("total", f"{usage.prompt_tokens + usage.output_tokens:,}", "", text.usd(cost.total_usd)))
    text.table(out, lines)
    said = [*([made.tier] if made.tier else []), *watch.sentences(), *made.notes]
    if said:
        text.section(out, "Note")
        text.notes(out, said)
    text.formula(
        out, [*BILL_FORMULA[:2], *sources_of(sheet), *_check_lines(check.verdict, check.differences, check.source)]
    )


@app.command()
def compare(
    price_lists: Annotated[
        list[str] | None, typer.Argument(metavar="PROVIDER/MODEL...", help="Default: three.")
    ] = None,
    prompt: Prompt = "128K",
    output: Output = "0",
    cached: Cached = "0",
    batch: Batch = False,
    service: Service = "standard",
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """The same call at several price lists, cold and with a part of the prompt cached."""
    lists = [PriceList.parse(one) for one in price_lists or []] or list(default_price_lists())
    tokens, generated, hit = tokens_of(prompt), tokens_of(output), tokens_of(cached)
    pairs = compare_bills(tokens, generated, hit, moment(at), lists, "batch" if batch else service)
    if as_json:
        print_json({"bills": text.plain(pairs), "formula": BILL_FORMULA})
        return
    out = console()
    text.heading(
        out, f"{tokens:,} prompt tokens, {hit:,} of them cached in the last column, {generated:,} output tokens"
    )
    cheapest = min(pair.cold.total_usd for pair in pairs)
    lines = [("", "input", "output", "cold", "x", "cached")]
    for pair in sorted(pairs, key=lambda one: one.cold.total_usd):
        cold = pair.cold
        times = f"{cold.total_usd / cheapest:,.1f}" if cheapest else "-"
        rates = (text.rate(cold.usd_per_mtok_input), text.rate(cold.usd_per_mtok_output))
        name = f"{cold.provider}/{cold.model}"
        lines.append((name, *rates, text.usd(cold.total_usd), times, text.usd(pair.cached.total_usd)))
    text.table(out, lines)
    said = [
        f"{pair.cold.provider}/{pair.cold.model}: {line}"
        for pair in pairs
        for line in [*(pair.cold.guard.sentences() if pair.cold.guard else []), *pair.cached.notes]
    ]
    if said:
        text.section(out, "Note")
        text.notes(out, said)
    text.formula(
        out,
        [
            "input, output: USD per million tokens at this prompt length; x: times the cheapest",
            "tokens as counted by you: every seller's tokenizer counts somewhat differently",
            *dict.fromkeys(pair.cold.source for pair in pairs),
        ],
    )


@app.command()
def show(price_list: List, at: At = None, as_json: AsJson = False) -> None:
    """A price list: its rates on both sides of every tier, its history, and what litellm says of it."""
    entry = PriceList.parse(price_list)
    sheet = sheet_of(price_list, at)
    changes = price_changes(entry.provider, entry.model)
    days = [("before", changes[0] - timedelta(days=1))] if changes and own_list(entry.provider) is None else []
    days += [(f"{day:%Y-%m-%d}", day) for day in changes]
    past = [(name, price_sheet(entry.provider, entry.model, day)) for name, day in days]
    daily = [
        (f"{start:%H:%M}-{end:%H:%M}", price_sheet(entry.provider, entry.model, datetime.combine(sheet.at, start)))
        for start, end in daily_windows(entry.provider, entry.model)
    ]
    checks = [cross_check(sheet, above) for above in (0, *(cliff.above_tokens + 1 for cliff in sheet.cliffs))]
    if as_json:
        history = [{"from": name, "sheet": text.plain(one)} for name, one in past]
        times = [{"utc": name, "sheet": text.plain(one)} for name, one in daily]
        found = {"sheet": text.plain(sheet), "history": history, "times_of_day": times}
        print_json({**found, "cross_check": text.plain(checks)})
        return
    out = console()
    text.heading(out, f"{sheet.provider}/{sheet.model}, {sheet.at:%Y-%m-%d %H:%M} UTC, USD per million tokens")
    text.table(out, [_RATE_NAMES, *_rate_lines(sheet)])
    if sheet.storage_usd_per_mtok_hour is not None:
        text.notes(out, [f"keeping a cache: {text.rate(sheet.storage_usd_per_mtok_hour)} USD per Mtok and hour"])
    if past:
        text.section(out, "History")
        lines = [("from", *_RATE_NAMES)]
        lines += [(name, *line) for name, one in past for line in _rate_lines(one)]
        text.table(out, lines, left=2)
    if daily:
        text.section(out, f"Times of day, UTC, on {sheet.at:%A %Y-%m-%d}")
        lines = [("time", *_RATE_NAMES), *((name, *line) for name, one in daily for line in _rate_lines(one))]
        text.table(out, lines, left=2)
    text.section(out, "Note")
    text.notes(out, sheet.notes)
    text.notes(out, sources_of(sheet))
    text.notes(out, [line for check in checks[:1] for line in _check_lines(check.verdict, (), check.source)])
    text.notes(out, dict.fromkeys(line for check in checks for line in check.differences))


_RATE_NAMES = ("prompt", "input", "output", "cache read", "write", "write 1 h")


def _rate_lines(sheet: PriceSheet) -> list[tuple[str, ...]]:
    def line(name: str, rates: Rates) -> tuple[str, ...]:
        cells = (rates.input, rates.output, rates.cache_read, rates.write_5m, rates.write_1h)
        return (name, *(text.rate(one) for one in cells))

    first = f"up to {sheet.cliffs[0].above_tokens:,}" if sheet.cliffs else "any"
    return [line(first, sheet.base), *(line(f"above {one.above_tokens:,}", one.rates) for one in sheet.cliffs)]


def _check_lines(verdict: str, differences: tuple[str, ...], source: str) -> list[str]:
    words = {"agrees": "agrees with every rate that it holds too", "not listed": "has no such rates"}
    return [f"cross-check: {source} {words.get(verdict, 'differs')}", *differences]


app.command()(price_cache.cache)
app.command()(price_tiers.tiers)
app.command()(price_retrieval.retrieval)
