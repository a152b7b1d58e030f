"""`windowtax bench floor`: what this machine reads and multiplies, what our engine reaches of it, and the least time of
a model's prefill and decode step."""

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_rate, format_seconds
from windowtax.cli.ask import AttentionOption, CacheDtypeOption, DtypeOption, RopeOption, WeightsOption
from windowtax.cli.console import console, messages

if TYPE_CHECKING:
    from windowtax.catalog.machine import EngineRates, MachineRecord
    from windowtax.engine.predict import Prediction


def floor(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Also the floors of this model: a name, a .gguf file, a folder.")
    ] = None,
    context: Annotated[list[str] | None, typer.Option(help="Context length, such as 8K. May be repeated.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences of a decode step.")] = 1,
    dtype: DtypeOption = "bf16",
    weights: WeightsOption = "stored",
    cache_dtype: CacheDtypeOption = "bf16",
    attention: AttentionOption = None,
    rope: RopeOption = None,
    kept: Annotated[bool, typer.Option("--kept", help="Take what was measured before, where it was.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure what this machine reads and multiplies per second, and keep it for plans and bills. With --model: the
    least time of a prefill and of a decode step, and what is predicted of our engine."""
    from windowtax.cli.extras import need_engine

    need_engine()
    if model is None and context:
        raise BadInput("--context says nothing without --model.", "Name the model whose floors are wanted.")
    found: list[tuple[int, Prediction]] = []
    if model is None:
        record = _record(kept)
    else:
        from windowtax.base.units import parse_tokens
        from windowtax.catalog.machine import machine_hardware
        from windowtax.cli.asking import open_model
        from windowtax.engine.predict import predict

        # What is asked is read before anything is measured: a wrong word should not cost a minute.
        contexts = [parse_tokens(one) for one in context or ["512", "2K", "8K", "32K"]]
        files = open_model(model, dtype, messages(), rope=rope, attention=attention)
        backend = files.backend(cache_dtype, weights)
        record = _record(kept)
        for tokens in contexts:
            hardware = machine_hardware(record)
            found.append((tokens, predict(files, backend, hardware, cache_dtype, tokens, batch)))
    if as_json:
        cells = [{"context_tokens": tokens, **asdict(one)} for tokens, one in found]
        typer.echo(json.dumps(asdict(record) | {"floors": cells}, indent=2))
        return
    _print_machine(record)
    if found:
        title = f"{model}, weights {weights}, cache {cache_dtype}, {batch} sequence{'s' if batch != 1 else ''}"
        console().print(_floors(title, found))


def _record(kept: bool) -> "MachineRecord":
    from windowtax.catalog.machine import OldRecord, load_record, save_machine
    from windowtax.engine.gauge import measure

    record = None
    if kept:
        with contextlib.suppress(OldRecord):
            record = load_record()
    if record is None:
        with messages().status("measuring reads, products and our engine (about a minute) ..."):
            record = measure()
        path = save_machine(record)
        messages().print(f"kept in {path}", soft_wrap=True, highlight=False)
    return record


def _print_machine(record: "MachineRecord") -> None:
    out = console()
    table = _table("this machine, measured", "", "")
    table.add_row("CPU", record.cpu)
    table.add_row("threads", str(record.threads))
    table.add_row("memory", format_bytes(record.memory_bytes))
    table.add_row("reads", format_rate(record.read_bytes_per_s, "B/s"))
    for element, rate in record.peak_flops_per_s.items():
        table.add_row(f"multiplies {element}", format_rate(rate, "FLOP/s"))
    out.print(table)
    if record.read_curve:
        out.print(_reads(record))
    if record.peaks_by_level:
        out.print(_levels(record))
    if record.engine is not None:
        out.print(_kernels(record.engine))
        out.print(_engine(record.engine))
    out.print(record.method, soft_wrap=True, highlight=False)
    if record.unrest:
        messages().print(record.unrest, soft_wrap=True, highlight=False)


def _reads(record: "MachineRecord") -> Table:
    threads = sorted({count for _, count, _ in record.read_curve})
    names = (f"{n} thread{'s' if n > 1 else ''}" for n in threads)
    table = _table("reads, by working set", "working set", *names)
    rates = {(size, count): rate for size, count, rate in record.read_curve}
    for size in sorted({size for size, _, _ in record.read_curve}):
        table.add_row(format_bytes(size), *(format_rate(rates[size, count], "B/s") for count in threads))
    return table


def _levels(record: "MachineRecord") -> Table:
    table = _table("multiplies, in registers, by instruction set", "", "fp32", "bf16", "int8")
    for level, rates in record.peaks_by_level.items():
        row = (format_rate(rates[name], "OP/s") if name in rates else "-" for name in ("fp32", "bf16", "int8"))
        table.add_row(level, *row)
    return table


def _kernels(rates: "EngineRates") -> Table:
    title = f"decode of our engine reads (native, {rates.level})"
    table = _table(title, "", "from a shared cache", "from main memory")
    weights = {f"weights in {bits}": curve for bits, curve in rates.weight_s_per_byte.items()}
    caches = {f"cache in {name}": curve for name, curve in rates.cache_s_per_byte.items()}
    for words, curve in (weights | caches).items():
        table.add_row(words, *(format_rate(1 / spent_s, "B/s") for _, spent_s in (curve[0], curve[-1])))
    return table


def _engine(rates: "EngineRates") -> Table:
    table = _table("and our engine takes or reaches", "", "")
    for bits, curve in rates.rows_s_per_byte.items():
        for rows, seconds in curve:
            table.add_row(f"decode, weights in {bits}, {rows:.0f} rows, at most", format_rate(1 / seconds, "B/s"))
    for numbers, rate in rates.product_flops_per_s:
        table.add_row(f"prefill, layers of {numbers / 1e6:.0f} M weights", format_rate(rate, "FLOP/s"))
    for size, rate in rates.attention_flops_per_s:
        table.add_row(f"prefill, attention, heads of {size:.0f}", format_rate(rate, "FLOP/s"))
    for numbers, seconds in rates.widening_s_per_number:
        table.add_row(f"each chunk, in layers of {numbers / 1e6:.0f} M weights", format_seconds(numbers * seconds))
    for numbers, seconds in rates.layer_s:
        table.add_row(f"each layer of a step, queries of {numbers:.0f} numbers", format_seconds(seconds))
    table.add_row("each step", format_seconds(rates.step_overhead_s))
    table.add_row("each further sequence of a step", format_seconds(rates.sequence_s))
    for numbers, seconds in rates.sequence_layer_s:
        table.add_row(f"and in each layer, queries of {numbers:.0f} numbers", format_seconds(seconds))
    table.add_row("choosing blocks, per layer", format_seconds(rates.choose_layer_s))
    table.add_row("and per million numbers of summaries", format_seconds(1e6 * rates.scored_number_s))
    return table


def _floors(title: str, found: list[tuple[int, "Prediction"]]) -> Table:
    table = _table(title, "context", "prefill at least", "predicted", "decode step at least", "predicted", "bound by")
    for tokens, one in found:
        table.add_row(
            f"{tokens:,}",
            format_seconds(one.prefill_floor.seconds),
            format_seconds(one.ttft_s),
            format_seconds(one.decode_floor.seconds),
            format_seconds(one.tpot_s),
            f"{one.prefill_floor.bound_by}, {one.decode_floor.bound_by}",
        )
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
