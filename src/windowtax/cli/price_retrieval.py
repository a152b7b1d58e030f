"""`windowtax price retrieval`: long context against retrieval, own hardware and API on one axis."""

from typing import Annotated

import typer
from rich.console import Console

from windowtax.catalog.read import read_model
from windowtax.cli import price_text as text
from windowtax.cli.console import console
from windowtax.cli.price_own import OwnSetup, OwnSide, own_side, print_own_side
from windowtax.cli.price_tiers import Gpus, HardwareName, UsdPerHour, device_of
from windowtax.cli.price_words import AsJson, At, print_json, seconds_of, sheet_of, sources_of, tokens_of
from windowtax.price.caching import Gaps, multipliers
from windowtax.price.retrieval import (
    Lookup,
    Session,
    SessionBill,
    Talk,
    Traffic,
    cached_long_context,
    call_ratio,
    long_context,
    output_for_ratio,
    session_bill,
    with_extra_calls,
)
from windowtax.price.retrieval import retrieval as retrieval_session
from windowtax.price.sheet import PriceSheet, Usage

FORMULA = (
    "every call is billed by the list's own rates, tiers included; month: session x users x sessions of a user",
    "a cache: the first turn writes the prefix, later ones read it, or write it again where it has died",
)
OWN_FORMULA = (
    "own hardware runs another model: equal tokens, not equal answers",
    "own hardware: groups x rent x 730 h, busy or not; a group does calls/hour x 730 x utilisation (assumed)",
    "long context there finds its prefix in memory from the second turn on, and stands beside the API's cheapest cache",
    "owning wins first at rent / API price of a call; for good once n full groups outweigh an (n+1)th one",
)
SHOWN_OUTPUTS = (0, 500, 1600, 4000)

Own = Annotated[str | None, typer.Option(metavar="MODEL", help="A model on own hardware, on the same axis.")]
Utilisation = Annotated[float, typer.Option(help="Share of the month that own hardware is busy (assumed).")]


def retrieval(
    price_list: Annotated[str, typer.Argument(metavar="[PROVIDER/MODEL]")] = "anthropic/claude-opus-5",
    long: Annotated[str, typer.Option(help="Tokens of the whole context.")] = "200000",
    retrieved: Annotated[str, typer.Option(help="Tokens that retrieval puts into a prompt.")] = "4000",
    question: Annotated[str, typer.Option(help="Tokens that each turn asks.")] = "0",
    output: Annotated[str, typer.Option(help="Tokens that each turn answers.")] = "0",
    history: Annotated[bool, typer.Option("--history", help="Earlier turns stay in the prompt.")] = False,
    turns: Annotated[int, typer.Option(help="Turns of a session.")] = 20,
    users: Annotated[int, typer.Option(help="Users.")] = 1000,
    sessions: Annotated[float, typer.Option(help="Sessions of a user in a month.")] = 30,
    mean_gap: Annotated[str | None, typer.Option(help="Mean time between turns (Poisson). Default: every hit.")] = None,
    matches: Annotated[int, typer.Option(help="Matches of a retrieval step.")] = 10,
    record: Annotated[int, typer.Option(help="Tokens of a match in full.")] = 1500,
    preview: Annotated[int, typer.Option(help="Tokens of an identifier and its preview.")] = 45,
    fetched: Annotated[int, typer.Option(help="Matches that two-step retrieval fetches in full.")] = 3,
    extra_calls: Annotated[int, typer.Option(help="Further calls a turn that keep summaries current.")] = 20,
    extra_prompt: Annotated[str, typer.Option(help="Prompt tokens of each of these (assumed).")] = "2000",
    extra_output: Annotated[str, typer.Option(help="Output tokens of each of these (assumed).")] = "200",
    own: Own = None,
    hardware: HardwareName = "h100-sxm",
    gpus: Gpus = None,
    usd_per_hour: UsdPerHour = None,
    cache_dtype: Annotated[str, typer.Option(help="Bits of own keys and values.")] = "checkpoint",
    utilisation: Utilisation = 0.5,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Long context against retrieval: per call, session and month, with caching; own hardware and API on one axis."""
    sheet, traffic = sheet_of(price_list, at), Traffic(users=users, turns=turns, sessions_per_user_month=sessions)
    tokens, short = tokens_of(long), tokens_of(retrieved)
    talk = Talk(question_tokens=tokens_of(question), output_tokens=tokens_of(output), history=history)
    full = Lookup(matches=matches, record_tokens=record)
    two = Lookup(matches=matches, record_tokens=record, preview_tokens=preview, fetched=fetched)
    plain = retrieval_session(short, turns, talk)
    extra = Usage(prompt_tokens=tokens_of(extra_prompt), output_tokens=tokens_of(extra_output))
    cached = _cached(sheet, tokens, turns, talk, mean_gap)
    ways = [
        long_context(tokens, turns, talk),
        *cached,
        plain,
        retrieval_session(full.tokens, turns, talk, name=f"one-step: {matches} records"),
        retrieval_session(two.tokens, turns, talk, name=f"two-step: previews + {fetched}"),
        with_extra_calls(plain, extra_calls, extra),
    ]
    bills = {way.name: session_bill(way, sheet, traffic) for way in ways}
    said = _notes(sheet, tokens, short, full, two, turns)
    setup = own and OwnSetup(read_model(own), device_of(hardware, usd_per_hour), gpus, utilisation, cache_dtype)
    long_usd = min(bills[way.name].per_call_usd for way in [ways[0], *cached])
    usd = (float(long_usd), float(bills[plain.name].per_call_usd))
    sides = _sides(setup, tokens, short, talk, turns, usd) if setup else []
    if as_json:
        found = {"list": text.plain(sheet), "traffic": text.plain(traffic), "bills": text.plain(list(bills.values()))}
        print_json({**found, "own": text.plain(sides), "notes": said, "formula": [*FORMULA, *OWN_FORMULA]})
        return
    out = console()
    text.heading(out, f"{sheet.provider}/{sheet.model}: {traffic}")
    _print_bills(out, list(bills.values()), bills[plain.name], users)
    text.section(out, "Note")
    text.notes(out, [*said, *sheet.notes])
    for side in sides:
        print_own_side(out, side)
    text.formula(out, [*FORMULA, *(OWN_FORMULA if sides else ()), *sources_of(sheet)])


def _sides(setup: OwnSetup, tokens: int, short: int, talk: Talk, turns: int, usd: tuple[float, float]) -> list[OwnSide]:
    """Both ways on own hardware, beside the API's USD per call of each."""
    output, question = talk.output_tokens, talk.question_tokens
    return [
        own_side(
            setup,
            name,
            prompt_tokens=prompt + question,
            reused_tokens=reused,
            output_tokens=output,
            turns=turns,
            api_usd=api_usd,
        )
        for name, prompt, reused, api_usd in (
            ("long context", tokens, tokens, usd[0]),
            ("retrieval", short, 0, usd[1]),
        )
    ]


def _print_bills(out: Console, bills: list[SessionBill], base: SessionBill, users: int) -> None:
    lines: list[tuple[str, ...]] = [("", "prompt tokens", "per call", "per session", "all users", "a month", "x")]
    for one in bills:
        dollars = (one.per_call_usd, one.session_usd, one.per_call_usd * users, one.month_usd)
        times = f"{one.session_usd / base.session_usd:,.1f}" if base.session_usd else "-"
        lines.append((one.name, f"{one.prompt_tokens:,}", *(text.usd(amount) for amount in dollars), times))
    text.table(out, lines)


def _cached(sheet: PriceSheet, tokens: int, turns: int, talk: Talk, mean_gap: str | None) -> list[Session]:
    """The long context in every cache that the list sells."""
    if sheet.rates(tokens).cache_read is None:
        return []
    gaps = None if mean_gap is None else Gaps(mean_s=seconds_of(mean_gap))
    kinds = {"5 min": "5m", "write": "5m", "1 h": "1h", "automatic": "auto"}
    return [
        cached_long_context(
            tokens, turns, talk, write=kinds[tier.name], hit_rate=1.0 if gaps is None else gaps.hit_rate(tier.ttl_s)
        )
        for tier in multipliers(sheet, tokens)
    ]


def _notes(sheet: PriceSheet, tokens: int, short: int, full: Lookup, two: Lookup, turns: int) -> list[str]:
    ratios = [f"{call_ratio(sheet, tokens, short, count):.1f} with {count:,}" for count in SHOWN_OUTPUTS]
    said = [
        f"prompt tokens: of a session, each turn's again; all users: one turn of each; x: times retrieval of {short:,}",
        f"one long over one retrieved call, by output tokens on both sides: {', '.join(ratios)}",
    ]
    wanted = output_for_ratio(sheet, tokens, short, 17)
    if wanted is not None:
        said.append(f"the articles' 17x per call needs {wanted:,.0f} output tokens on both sides, and no cache")
    saved = full.tokens - two.tokens
    again = saved * turns * (turns + 1) // 2
    said.append(
        f"two-step retrieval: {two.tokens:,} tokens a step, not {full.tokens:,}: {saved * turns:,} saved in {turns} "
        f"steps, {again:,} token-reads where found text stays in the prompt"
    )
    return said
