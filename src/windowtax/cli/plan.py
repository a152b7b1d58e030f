"""`windowtax plan`, `compare`, `sweep`: words to a plan, a plan to text, JSON or CSV."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.cli import plan_text
from windowtax.cli.console import console
from windowtax.plan.contract import plan_json, plan_row
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.plan import Plan, PlanOptions, make_plan
from windowtax.plan.schemes import CHECKPOINT, SCHEMES
from windowtax.plan.sweep import at_context, parse_contexts
from windowtax.plan.sweep import sweep as make_sweep
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_rope
from windowtax.spec.workload import DEFAULT_OUTPUT_TOKENS, Workload

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="A catalog name, a config.json, its folder, or a .gguf file.")
]
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Catalog names, config.json or .gguf files.")]
Context = Annotated[str, typer.Option(help="The window, prompt and output together: 131072 or 128K.")]
Contexts = Annotated[str, typer.Option(help="Windows: 4K..1M (each twice the last) or 8K,32K,128K.")]
Users = Annotated[int, typer.Option(help="Windows held at the same time.")]
Output = Annotated[int, typer.Option(help="Generated tokens of each call, part of the window.")]
Cached = Annotated[str, typer.Option(help="Tokens of each prompt that a prefix cache holds already.")]
HardwareName = Annotated[str, typer.Option("--hardware", help="A device of the catalog, or this-machine.")]
Gpus = Annotated[int | None, typer.Option(help="Exactly so many accelerators. Default: the fewest that hold it.")]
CacheDtypeName = Annotated[str, typer.Option(help=f"Bits of keys and values: {', '.join(CACHE_DTYPES)}.")]
Weights = Annotated[str, typer.Option(help=f"Bits of the weights: {', '.join([CHECKPOINT, *SCHEMES])}.")]
Rope = Annotated[str | None, typer.Option(help="A RoPE scaling laid over the model, such as yarn:4.")]
Chunk = Annotated[int, typer.Option(help="Most tokens of one prompt that a prefill step computes.")]
Price = Annotated[
    float | None, typer.Option("--usd-per-hour", help="Price of one accelerator, instead of the catalog's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/reference/plan-json.md).")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


def plan(
    model: Model,
    context: Context = "128K",
    users: Users = 1,
    output_tokens: Output = DEFAULT_OUTPUT_TOKENS,
    cached_tokens: Cached = "0",
    hardware: HardwareName = "h100-sxm",
    gpus: Gpus = None,
    cache_dtype: CacheDtypeName = "bf16",
    weights: Weights = CHECKPOINT,
    rope: Rope = None,
    chunk: Chunk = DEFAULT_CHUNK_TOKENS,
    usd_per_hour: Price = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the derivation: formulas, numbers, sources.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What a context window costs: bytes, accelerators, seconds, dollars."""
    workload = _workload(parse_tokens(context), users, output_tokens, cached_tokens)
    options = _options(cache_dtype, weights, gpus, chunk)
    made = make_plan(_spec(model, rope), _device(hardware, usd_per_hour), workload, options)
    if as_json:
        _print_json(plan_json(made))
    elif as_csv:
        _print_csv([made])
    elif explain:
        plan_text.print_derivation(console(), made)
    else:
        plan_text.print_plan(console(), made)


def compare(
    models: Models,
    context: Context = "128K",
    users: Users = 1,
    output_tokens: Output = DEFAULT_OUTPUT_TOKENS,
    cached_tokens: Cached = "0",
    hardware: HardwareName = "h100-sxm",
    gpus: Gpus = None,
    cache_dtype: CacheDtypeName = "bf16",
    weights: Weights = CHECKPOINT,
    rope: Rope = None,
    chunk: Chunk = DEFAULT_CHUNK_TOKENS,
    usd_per_hour: Price = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """The same window on several models, side by side."""
    workload = _workload(parse_tokens(context), users, output_tokens, cached_tokens)
    options, device = _options(cache_dtype, weights, gpus, chunk), _device(hardware, usd_per_hour)
    made = [make_plan(_spec(name, rope), device, workload, options) for name in models]
    if as_json:
        _print_json([plan_json(one) for one in made])
    elif as_csv:
        _print_csv(made)
    else:
        plan_text.print_comparison(console(), made)


def sweep(
    model: Model,
    context: Contexts = "4K..1M",
    users: Users = 1,
    output_tokens: Output = DEFAULT_OUTPUT_TOKENS,
    cached_tokens: Cached = "0",
    hardware: HardwareName = "h100-sxm",
    gpus: Gpus = None,
    cache_dtype: CacheDtypeName = "bf16",
    weights: Weights = CHECKPOINT,
    rope: Rope = None,
    chunk: Chunk = DEFAULT_CHUNK_TOKENS,
    usd_per_hour: Price = None,
    out: Annotated[Path | None, typer.Option(help="Draw it: a .svg, .png or .html file.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Bytes, seconds and dollars against the window, as a chart."""
    contexts = parse_contexts(context)
    workload = at_context(_workload(contexts[-1], users, output_tokens, cached_tokens), contexts[-1])
    options, device = _options(cache_dtype, weights, gpus, chunk), _device(hardware, usd_per_hour)
    made = make_sweep(_spec(model, rope), device, workload, contexts, options)
    if out is not None:
        from windowtax.plan.chart import write_chart

        write_chart(made, out)
    if as_json:
        _print_json([plan_json(one) for one in made])
    elif as_csv:
        _print_csv(made)
    else:
        plan_text.print_sweep(console(), made)
        if out is not None:
            typer.echo(f"Drawn into {out}")


def _spec(model: str, rope: str | None) -> ModelSpec:
    spec = read_model(model)
    return spec if rope is None else with_rope(spec, rope)


def _device(name: str, usd_per_hour: float | None) -> Hardware:
    device = find_hardware(name)
    if usd_per_hour is None:
        return device
    return device.priced(usd_per_hour, datetime.now(tz=UTC).date().isoformat())


def _workload(context_tokens: int, users: int, output_tokens: int, cached_tokens: str) -> Workload:
    cached = 0 if cached_tokens.strip() == "0" else parse_tokens(cached_tokens)
    return Workload(context_tokens=context_tokens, output_tokens=output_tokens, users=users, cached_tokens=cached)


def _options(cache_dtype: str, weights: str, gpus: int | None, chunk: int) -> PlanOptions:
    if chunk < 1:
        raise BadInput(f"A prefill chunk of {chunk} tokens makes no sense.")
    return PlanOptions(cache_dtype=cache_dtype, weights=weights, accelerators=gpus, chunk_tokens=chunk)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def _print_csv(plans: "list[Plan] | tuple[Plan, ...]") -> None:
    rows = [plan_row(one) for one in plans]
    # Rates are listed per element type, so plans can have different columns.
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    typer.echo(text.getvalue(), nl=False)
