"""`windowtax plan`, `compare`, `sweep`: words to a plan, a plan to text, JSON or CSV."""

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.cli import page, plan_text
from windowtax.cli.console import console
from windowtax.plan.contract import plan_json, plan_row
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS
from windowtax.plan.knee import Slo, parse_seconds
from windowtax.plan.parallel import parse_parallel
from windowtax.plan.plan import Plan, PlanOptions, make_plan
from windowtax.plan.schemes import CHECKPOINT, SCHEMES
from windowtax.plan.sweep import at_context, parse_contexts
from windowtax.plan.sweep import sweep as make_sweep
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.spec.dtypes import cache_dtype as find_cache_dtype
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_attention, with_rope
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
CacheDtypeName = Annotated[
    str, typer.Option(help=f"Bits of keys and values: {', '.join(CACHE_DTYPES)}; int8/int4; +edges:2.")
]
Weights = Annotated[str, typer.Option(help=f"Bits of the weights: {', '.join([CHECKPOINT, *SCHEMES])}.")]
Rope = Annotated[str | None, typer.Option(help="A RoPE scaling laid over the model, such as yarn:4.")]
Attention = Annotated[
    str | None, typer.Option(help="A lever over full attention: full=sinks:4+window:4096, full=topk:64+block:16.")
]
Drafts = Annotated[bool, typer.Option("--drafts", help="Count the layers of multi-token prediction: they draft.")]
Chunk = Annotated[int, typer.Option(help="Most tokens of one prompt that a prefill step computes.")]
Arrangement = Annotated[
    str | None, typer.Option("--parallel", help="Exactly this arrangement, such as tp=8,pp=2 (tp, pp, ep, ring, dp).")
]
SloTtft = Annotated[str | None, typer.Option(help="Promise a mean time to the first token, such as 2s: how many GPUs?")]
SloTpot = Annotated[str | None, typer.Option(help="Promise a mean time between tokens, such as 50ms: how many GPUs?")]
Price = Annotated[
    float | None, typer.Option("--usd-per-hour", help="Price of one accelerator, instead of the catalog's.")
]
ReconcileLog = Annotated[
    str | None,
    typer.Option(metavar="LOG", help="Compare cache bytes with a log of vLLM, SGLang or llama.cpp; - reads stdin."),
]
Engines = Annotated[bool, typer.Option("--engines", help="Cache bytes of one window as each engine allocates them.")]
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
    attention: Attention = None,
    drafts: Drafts = False,
    chunk: Chunk = DEFAULT_CHUNK_TOKENS,
    usd_per_hour: Price = None,
    parallel: Arrangement = None,
    slo_ttft: SloTtft = None,
    slo_tpot: SloTpot = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the derivation: formulas, numbers, sources.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    open_page: page.OpenPage = False,
    html: page.HtmlFile = None,
    no_browser: page.NoBrowser = False,
    port: page.Port = 0,
    reconcile: ReconcileLog = None,
    engines: Engines = False,
) -> None:
    """What a context window costs: bytes, accelerators, seconds, dollars."""
    if reconcile is not None or engines:
        if reconcile is not None and engines:
            raise BadInput("--reconcile and --engines print different tables.", "Give one of them.")
        _print_readings(
            _spec(model, rope, attention, drafts=drafts), reconcile, cache_dtype, gpus, parse_tokens(context), as_json
        )
        return
    workload = _workload(parse_tokens(context), users, output_tokens, cached_tokens)
    options = _arranged(_options(cache_dtype, weights, gpus, chunk), parallel, slo_ttft, slo_tpot)
    words = page.PageWords(open_page=open_page, html=html, no_browser=no_browser, port=port)
    if words.wanted(printed=as_json or as_csv or explain):
        form = page.first_form(model, workload, hardware, options, usd_per_hour)
        typed = {"rope": rope, "attention": attention, "drafts": drafts or None}
        extra = page.other_words(**typed, parallel=parallel, slo_ttft=slo_ttft, slo_tpot=slo_tpot)
        page.answer(words, form, options, lambda name: _spec(name, rope, attention, drafts=drafts), _device, extra)
        return
    made = make_plan(_spec(model, rope, attention, drafts=drafts), _device(hardware, usd_per_hour), workload, options)
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
    attention: Attention = None,
    drafts: Drafts = False,
    chunk: Chunk = DEFAULT_CHUNK_TOKENS,
    usd_per_hour: Price = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """The same window on several models, side by side."""
    workload = _workload(parse_tokens(context), users, output_tokens, cached_tokens)
    options, device = _options(cache_dtype, weights, gpus, chunk), _device(hardware, usd_per_hour)
    made = [make_plan(_spec(name, rope, attention, drafts=drafts), device, workload, options) for name in models]
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
    attention: Attention = None,
    drafts: Drafts = False,
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
    made = make_sweep(_spec(model, rope, attention, drafts=drafts), device, workload, contexts, options)
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


def _print_readings(
    spec: ModelSpec, log: str | None, cache_dtype: str, gpus: int | None, context_tokens: int, as_json: bool
) -> None:
    """Cache bytes beside a log; without one, in every engine."""
    from windowtax.cli.reconcile import run_engines, run_reconcile

    dtype = find_cache_dtype(cache_dtype)
    if log is None:
        run_engines(console(), spec, dtype, gpus or 1, context_tokens, as_json=as_json)
    else:
        run_reconcile(console(), spec, log, dtype, gpus, as_json=as_json)


def _spec(model: str, rope: str | None, attention: str | None, *, drafts: bool) -> ModelSpec:
    """The model, with the levers that are laid over it."""
    spec = read_model(model)
    spec = spec.with_drafts() if drafts else spec
    spec = spec if attention is None else with_attention(spec, attention)
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


def _arranged(options: PlanOptions, parallel: str | None, ttft: str | None, tpot: str | None) -> PlanOptions:
    """The options with an arrangement and a promise, where they are given. Raises BadInput."""
    promised = [None if text is None else parse_seconds(text) for text in (ttft, tpot)]
    slo = None if ttft is None and tpot is None else Slo(ttft_s=promised[0], tpot_s=promised[1])
    return replace(options, parallel=None if parallel is None else parse_parallel(parallel), slo=slo)


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
