"""`windowtax xray`: words to an X-ray of a price list or of a latency curve, and the back-test of both."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.cli.console import console
from windowtax.spec.hardware import Hardware

PriceListName = Annotated[
    str | None, typer.Argument(metavar="[PROVIDER/MODEL]", help="A price list, such as google/gemini-3.1-pro-preview.")
]
Tier = Annotated[str | None, typer.Option(help="The tier to explain, by its tokens (128000). Default: the first one.")]
Active = Annotated[str | None, typer.Option(help="Active parameters, where they are known: 22B.")]
Total = Annotated[str | None, typer.Option(help="Parameters in all, where they are known: 235B.")]
Latency = Annotated[
    Path | None, typer.Option(help="A CSV file with the header context_tokens,itl_ms: KV bytes from its slope.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Measure that curve on an OpenAI-compatible server of this machine first.")
]
HardwareName = Annotated[
    str | None,
    typer.Option("--hardware", help="Where it was measured. Default: h100-sxm; this-machine for --endpoint."),
]
Gpus = Annotated[int, typer.Option(help="Accelerators that share one copy of the model.")]
Batch = Annotated[int, typer.Option(help="Sequences of the same length in each step, for --latency.")]
Contexts = Annotated[str, typer.Option(help="Words of prompt that --endpoint sends.")]
Repeats = Annotated[int, typer.Option(help="How often --endpoint sends each.")]
ServedModel = Annotated[str, typer.Option("--model", help="Model name at the endpoint. Default: the first it lists.")]
BacktestFlag = Annotated[bool, typer.Option("--backtest", help="Try the X-ray on open weights, and show its error.")]
At = Annotated[str | None, typer.Option(help="Prices of that day: 2026-03-01. Default: today.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def xray(
    price_list: PriceListName = None,
    tier: Tier = None,
    active: Active = None,
    total: Total = None,
    at: At = None,
    latency: Latency = None,
    endpoint: Endpoint = None,
    hardware: HardwareName = None,
    gpus: Gpus = 1,
    batch: Batch = 1,
    contexts: Contexts = "256,512,1024,2048,4096,8192",
    repeats: Repeats = 2,
    model: ServedModel = "",
    backtest: BacktestFlag = False,
    as_json: AsJson = False,
) -> None:
    """What a price list or a latency curve says about the cache behind it: rival explanations, intervals, evidence."""
    chosen = [one for one in (price_list, latency, endpoint, backtest or None) if one is not None]
    if len(chosen) != 1:
        raise BadInput(
            "Give one thing to look at.",
            "windowtax xray PROVIDER/MODEL, --latency points.csv, --endpoint http://localhost:8000, or --backtest.",
        )
    if backtest:
        _backtest(as_json)
    elif latency is not None:
        from windowtax.price.xray.latency import read_points

        _latency(read_points(latency), find_hardware(hardware or "h100-sxm"), gpus, batch, as_json)
    elif endpoint is not None:
        from windowtax.price.xray.endpoint import Probe, measure

        # The hardware first: a name that is not known should not cost a minute of measuring.
        device = find_hardware(hardware or "this-machine")
        probe = Probe(contexts=_counts(contexts), repeats=repeats, model=model)
        _latency(measure(endpoint, probe), device, gpus, 1, as_json)
    else:
        _price_list(price_list or "", tier, active, total, at, as_json)


def _price_list(
    name: str, tier: str | None, active: str | None, total: str | None, at: str | None, as_json: bool
) -> None:
    from windowtax.price.lists import PriceList
    from windowtax.price.xray.analysis import xray as take
    from windowtax.price.xray.contract import xray_json

    wanted = PriceList.parse(name)
    found = take(
        wanted.provider,
        wanted.model,
        active_parameters=_parameters(active),
        total_parameters=_parameters(total),
        at=_day(at),
    )
    reading = found.reading(None if tier is None else parse_tokens(tier))
    if as_json:
        _print_json(xray_json(found))
    else:
        from windowtax.cli.xray_text import print_xray

        print_xray(console(), found, reading)


def _backtest(as_json: bool) -> None:
    from windowtax.price.xray.backtest import backtest
    from windowtax.price.xray.contract import backtest_json
    from windowtax.price.xray.latency import latency_trials

    if as_json:
        _print_json(backtest_json(backtest(), latency_trials()))
    else:
        from windowtax.cli.xray_text import print_backtest

        print_backtest(console(), backtest(), latency_trials())


def _latency(points: "tuple[Any, ...]", device: Hardware, gpus: int, batch: int, as_json: bool) -> None:
    from windowtax.price.xray.contract import latency_json
    from windowtax.price.xray.latency import fit_line, latency_xray

    found = latency_xray(fit_line(points), device, accelerators=gpus, batch=batch)
    if as_json:
        measured = [{"context_tokens": point.context_tokens, "itl_ms": point.itl_s * 1e3} for point in points]
        _print_json(latency_json(found) | {"points": measured})
    else:
        from windowtax.cli.xray_text import print_latency

        print_latency(console(), found)


def _parameters(text: str | None) -> float | None:
    """ "22B", "1.5T", "22e9" -> a number of parameters."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9][0-9_,.]*(?:[eE][0-9]+)?)\s*([mMbBtT]?)\s*", text)
    if match is None:
        raise BadInput(f"{text!r} is not a number of parameters.", "Write 22B for 22 billion, or 1.5T.")
    scale = {"": 1.0, "m": 1e6, "b": 1e9, "t": 1e12}[match.group(2).lower()]
    try:
        return float(match.group(1).replace(",", "").replace("_", "")) * scale
    except ValueError as error:
        raise BadInput(f"{text!r} is not a number of parameters.", "Write 22B for 22 billion, or 1.5T.") from error


def _day(text: str | None) -> datetime | None:
    """Noon of an ISO day, UTC; None for today."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(f"{text.strip()}T12:00:00+00:00")
    except ValueError as error:
        raise BadInput(f"{text!r} is not a day.", "Write it as 2026-03-01.") from error


def _counts(text: str) -> tuple[int, ...]:
    return tuple(parse_tokens(part) for part in text.split(",") if part.strip())


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
