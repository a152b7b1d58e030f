"""`windowtax classify`: words to a technique's path and worth, as text or JSON."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_seconds, format_tokens, format_usd, parse_tokens
from windowtax.catalog.hardware_catalog import hardware as find_hardware
from windowtax.catalog.read import read_model
from windowtax.cli.columns import columns
from windowtax.cli.console import console
from windowtax.plan.classify import Classified, base_state, classified_json, classify, classify_all
from windowtax.plan.fit import DEFAULT_CHUNK_TOKENS, Sizing
from windowtax.plan.schemes import CHECKPOINT, chosen_cache_dtype, weight_scheme
from windowtax.plan.techniques.base import PATHS, State
from windowtax.spec.workload import DEFAULT_OUTPUT_TOKENS, Workload


def classify_technique(
    technique: Annotated[
        str | None, typer.Argument(metavar="TECHNIQUE", help="A name such as gqa, mla, kv-fp8; --all lists them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All techniques in one table.")] = False,
    model: Annotated[str, typer.Option(help="A catalog name, a config.json or a .gguf file.")] = "llama-3.1-70b",
    context: Annotated[str, typer.Option(help="The window, prompt and output together: 131072 or 128K.")] = "128K",
    batch: Annotated[int, typer.Option(help="Sequences that decode together.")] = 8,
    output_tokens: Annotated[int, typer.Option(help="Generated tokens of each call.")] = DEFAULT_OUTPUT_TOKENS,
    hardware: Annotated[str, typer.Option(help="A device of the catalog, or this-machine.")] = "h100-sxm",
    gpus: Annotated[int | None, typer.Option(help="Accelerators. Default: the fewest that hold one window.")] = None,
    cache_dtype: Annotated[str, typer.Option(help="Bits of keys and values.")] = CHECKPOINT,
    weights: Annotated[str, typer.Option(help="Bits of the weights.")] = CHECKPOINT,
    chunk: Annotated[int, typer.Option(help="Most tokens of a prompt that one step computes.")] = DEFAULT_CHUNK_TOKENS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a technique moves in the cost equation, and what that is worth here: computed with it and without it."""
    if everything == (technique is not None):
        raise BadInput("One technique, or --all?", "Write `windowtax classify gqa` or `windowtax classify --all`.")
    if chunk < 1:
        raise BadInput(f"A prefill chunk of {chunk} tokens makes no sense.", "Write a whole number from 1.")
    spec = read_model(model)
    sizing = Sizing(
        spec=spec,
        hardware=find_hardware(hardware),
        workload=Workload(context_tokens=parse_tokens(context), output_tokens=output_tokens, users=batch),
        scheme=weight_scheme(weights, spec),
        dtype=chosen_cache_dtype(cache_dtype, spec),
        chunk_tokens=chunk,
    )
    state = base_state(sizing, gpus)
    found, missing = ([classify(technique, state)], {}) if technique else classify_all(state)
    if as_json:
        data = [classified_json(one) for one in found]
        typer.echo(json.dumps({"techniques": data, "not_here": missing} if everything else data[0], indent=2))
    elif everything:
        _print_all(console(), state, found, missing)
    else:
        _print_one(console(), state, found[0])


def _headline(state: State) -> Text:
    workload = state.sizing.workload
    return Text(
        f"{state.spec.name}, {format_tokens(workload.context_tokens)} tokens, batch {workload.users:,}, "
        f"{state.chips:,} x {state.chip.title} as one machine",
        style="bold",
    )


def _print_one(out: Console, state: State, one: Classified) -> None:
    made = one.technique
    out.print(_headline(state))
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 1))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    paths = "; ".join(f"{path}, {PATHS[path]}" for path in made.paths)
    said = made.article or "not in the articles"
    for label, value in (
        ("technique", f"{made.title} ({made.name})"),
        ("path", paths),
        ("term", made.term),
        ("articles", said),
        ("source", made.source),
        ("here", one.change),
    ):
        table.add_row(label, Text(value))
    out.print(table)
    figures = Table(box=None, padding=(0, 2, 0, 1))
    for name, justify in (("", "left"), ("without", "right"), ("with", "right"), ("factor", "right")):
        figures.add_column(Text(name, style="dim"), justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType]
    for row in _rows(one):
        figures.add_row(*(Text(cell) for cell in row))
    out.print()
    out.print(figures)
    users = state.sizing.workload.users
    if min(one.without.most_users, one.with_it.most_users) < users:
        out.print(Text(f"\n The times and dollars are those of {users:,} windows even where fewer fit.", style="dim"))
    out.print(Text("\n All derived: the equation with and without it (docs/equation.md).", style="dim"))


def _rows(one: Classified) -> list[tuple[str, ...]]:
    before, after, factors = one.without, one.with_it, one.factors
    rows = [
        ("cache of one window", "cache_bytes", format_bytes(before.cache_bytes), format_bytes(after.cache_bytes)),
        ("cache read per token", "read_bytes", format_bytes(before.read_bytes), format_bytes(after.read_bytes)),
        ("weights", "weight_bytes", format_bytes(before.weight_bytes), format_bytes(after.weight_bytes)),
        ("windows that fit", "most_users", f"{before.most_users:,}", f"{after.most_users:,}"),
        ("time to first token", "ttft_s", format_seconds(before.ttft_s), format_seconds(after.ttft_s)),
        ("time of a token", "token_s", format_seconds(before.token_s), format_seconds(after.token_s)),
        ("with prompts between", "steady_token_s", *_times(before.steady_token_s, after.steady_token_s)),
        ("longest gap", "gap_s", format_seconds(before.gap_s), format_seconds(after.gap_s)),
        ("per million output", "usd_per_mtok", _usd(before.usd_per_mtok), _usd(after.usd_per_mtok)),
        ("same, machine full", "usd_per_mtok_full", _usd(before.usd_per_mtok_full), _usd(after.usd_per_mtok_full)),
        ("sweet-spot batch B*", "sweet_spot_batch", *(f"{x.sweet_spot_batch:,.0f}" for x in (before, after))),
    ]
    return [(label, old, new, _factor(factors[key])) for label, key, old, new in rows]


def _times(before: float, after: float) -> tuple[str, str]:
    return format_seconds(before), format_seconds(after)


def _usd(value: float | None) -> str:
    return "-" if value is None else format_usd(value)


def _factor(factor: float | None) -> str:
    if factor is None:
        return "-"
    return f"{factor:,.0f}x" if factor >= 100 else f"{factor:.2f}x"


def _print_all(out: Console, state: State, found: list[Classified], missing: dict[str, str]) -> None:
    out.print(_headline(state))
    heads = ("technique", "path", "token", "TTFT", "gap", "users", "$", "$ full", "B*", "moves")
    keys = ("token_s", "ttft_s", "gap_s", "most_users", "usd_per_mtok", "usd_per_mtok_full", "sweet_spot_batch")
    lines: list[tuple[str, ...]] = [heads]
    for one in found:
        paths = "+".join(str(path) for path in one.technique.paths)
        cells = (_factor(one.factors[key]) for key in keys)
        lines.append((one.technique.name, paths, *cells, one.technique.term))
    out.print(columns(out, lines, right=range(2, len(heads) - 1)))
    for path, name in PATHS.items():
        out.print(Text(f" path {path}: {name}", style="dim"))
    out.print(
        Text(" Factors are derived: how many times better with it; B*: how far the sweet spot moves.", style="dim")
    )
    for name, why in missing.items():
        out.print(Text(f" not here: {name}: {why}"))
