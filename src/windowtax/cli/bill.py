"""`windowtax bill`: what a server's requests have cost, summed by key, day, prefix, model, endpoint or outcome."""

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import GIB, format_seconds, format_usd
from windowtax.cli.columns import columns
from windowtax.cli.console import console

if TYPE_CHECKING:
    from windowtax.server.ledger import Sums

_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def bill(
    by: Annotated[str, typer.Option(help="key, day, prefix, model, endpoint or outcome.")] = "day",
    since: Annotated[str | None, typer.Option(help="Only the last 90m, 24h, 7d or 4w.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key's, by its name.")] = None,
    ledger: Annotated[
        str | None, typer.Option(help="The ledger's file. Default: the one in the user's folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sum up what `windowtax serve` has served: tokens, cache hits, seconds, dollars here and at an API."""
    from windowtax.cli.extras import need_server

    need_server()
    from windowtax.server.ledger import ledger_path, sums

    path = ledger_path(ledger)
    since_s = 0.0 if since is None else time.time() - _seconds(since)
    found = sums(path, by, since_s=since_s, key=key)
    if as_json:
        typer.echo(json.dumps({"ledger": str(path), "by": by, "groups": [asdict(one) for one in found]}, indent=2))
        return
    if not found:
        typer.echo(f"{path} has no calls that match.")
        return
    out = console()
    out.print(columns(out, [_head(by), *(_row(one) for one in found)]))
    out.print(
        "cached, GiB·s, computing: measured; $ here: computing at the machine's price; $ API: list prices.", style="dim"
    )


def _seconds(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in _SECONDS or not number.isdecimal():
        raise BadInput(f"{text!r} is no time span.", "Write 90m, 24h, 7d or 4w.")
    return int(number) * _SECONDS[unit]


def _head(by: str) -> list[str]:
    return [
        by,
        "calls",
        "prompt",
        "cached",
        "output",
        "GiB·s of KV",
        "queued",
        "computing",
        "avoided",
        "$ here",
        "$ API",
    ]


def _row(one: "Sums") -> list[str]:
    name = f"{one.group} {one.words[:32]}" if one.words else one.group
    return [
        name,
        f"{one.calls:,}",
        f"{one.prompt_tokens:,}",
        f"{one.cached_tokens / max(1, one.prompt_tokens):.0%}",
        f"{one.output_tokens:,}",
        f"{one.kv_byte_seconds / GIB:,.3f}",
        format_seconds(one.queue_s),
        format_seconds(one.compute_s),
        format_seconds(one.recompute_avoided_s),
        "-" if one.usd is None else format_usd(one.usd),
        format_usd(one.usd_api),
    ]
