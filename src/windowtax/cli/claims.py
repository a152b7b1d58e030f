"""`windowtax claims`: the articles' numbers and what they come to. `windowtax check`: what someone's number is."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from windowtax.base.errors import BadInput
from windowtax.base.units import format_tokens
from windowtax.cli.console import console

if TYPE_CHECKING:
    from windowtax.plan.check import Match
    from windowtax.plan.claims.judge import Judged

Article = Annotated[int | None, typer.Option(help="Only this article, 1 to 5.")]
VerdictName = Annotated[
    str | None, typer.Option("--verdict", help='Only claims that are "holds", "holds if" or "wrong".')
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Text = Annotated[str, typer.Argument(help='A sentence with a number, such as "83.9 GiB at 1M on DeepSeek-V3.2".')]

COLOURS = {"holds": "green", "holds if": "yellow", "wrong": "red"}


def claims(article: Article = None, verdict: VerdictName = None, as_json: AsJson = False) -> None:
    """List the five articles' numbers: what is claimed, what it comes to, and whether that holds."""
    from windowtax.plan.claims.contract import claim_json
    from windowtax.plan.claims.judge import ARTICLES, Verdict, all_claims, judge

    wanted = (verdict or "").replace("-", " ").lower()
    if article is not None and article not in ARTICLES:
        raise BadInput(f"There is no article {article}.", f"There are: {', '.join(map(str, ARTICLES))}.")
    if wanted and wanted not in {*Verdict}:
        raise BadInput(f"{verdict!r} is no verdict.", f"There are: {', '.join(Verdict)}.")
    found = [judge(claim) for claim in all_claims() if article in (None, claim.article)]
    found = [one for one in found if not wanted or one.verdict == wanted]
    if as_json:
        typer.echo(json.dumps([claim_json(one) for one in found], indent=2))
        return
    out = console()
    for number, title in ARTICLES.items():
        rows = [one for one in found if one.claim.article == number]
        if not rows:
            continue
        out.print(f"\n[bold]Article {number}[/bold]: {title}")
        out.print(_table(rows))
    counts = ", ".join(f"{sum(one.verdict is kind for one in found)} {kind}" for kind in Verdict)
    out.print(f"\n{len(found)} claims: {counts}. Formulas and inputs: --json, or docs/claims.md.")


def _table(rows: "list[Judged]") -> Table:
    """Claims with the claimed and our value, and below each sentence its assumption and the reason."""
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    for heading in ("", "verdict"):
        table.add_column(heading, no_wrap=True)
    for heading in ("claimed", "ours"):
        table.add_column(heading, justify="right", max_width=20)
    table.add_column("claim, and why", ratio=1)
    for one in rows:
        colour = COLOURS[one.verdict]
        told = f"Holds if {one.reading.assumption}. {one.why}" if one.holds_if else one.why
        sentence = f"[bold]{escape(one.claim.quote)}[/bold]\n{escape(told)}"
        table.add_row(one.claim.id, f"[{colour}]{one.verdict}[/]", one.claimed_text, one.value_text, sentence)
    return table


def check(text: Text, as_json: AsJson = False) -> None:
    """Find the formula that reproduces a number, or the nearest one and its error."""
    from windowtax.plan.check import check as find
    from windowtax.plan.claims.contract import check_json

    found = find(text)
    if as_json:
        typer.echo(json.dumps(check_json(found), indent=2))
        return

    out, best = console(), found.best
    told = "reproduced" if best.exact else "not reproduced"
    out.print(f"[bold]{escape(found.words.quantity.text)}[/bold]: {told} ({found.tried:,} readings tried, all derived)")
    if not found.words.models and found.words.quantity.kind != "usd":
        out.print("The sentence names no model of the catalog, so all of them were searched.")
    out.print()
    table = Table.grid(padding=(0, 2))
    for heading, right in (
        ("", False),
        ("value", True),
        ("stated is off by", True),
        ("formula, and what it assumes", False),
    ):
        table.add_column(heading, justify="right" if right else "left", no_wrap=right, header_style="bold")
    table.show_header = True
    table.add_row("found" if best.exact else "nearest", *_cells(best), style="bold")
    if found.plain and found.plain is not best:
        table.add_row("as written", *_cells(found.plain))
    for one in found.others:
        if one is not found.plain:
            table.add_row("also" if one.exact else "near", *_cells(one))
    out.print(table)


def _cells(match: "Match") -> list[str]:
    """A match's value, by how much the stated number is off, and the formula with what it is of and assumes."""
    from windowtax.plan.claims.amount import amount_text

    reading = match.reading
    length = f"{format_tokens(reading.context_tokens)} tokens" if reading.context_tokens else ""
    of = ", ".join(word for word in (reading.model, reading.dtype, length) if word)
    error = "0" if abs(match.error) < 5e-7 else f"{match.error:+.2%}"
    assumed = f"\nassuming: {'; '.join(match.assumptions)}" if match.assumptions else ""
    return [amount_text(match.value, match.unit), error, escape(f"{reading.formula}: {of}{assumed}")]
