"""The bill as a table that a person reads."""

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from windowtax.base.units import format_bytes, format_rate, format_seconds, format_usd
from windowtax.cli.console import PIPED_WIDTH
from windowtax.engine.bill import Bill, CacheLedger, Speed


def print_bill(bill: Bill, out: Console) -> None:
    """Prints the bill: tokens and times, the cache ledger, memory, the floor, and dollars."""
    layers = ", ".join(f"{count} {kind}" for kind, count in bill.kinds.items())
    title = f"bill: {bill.model} ({layers})"
    how = f"computed in {bill.compute_dtype} by {bill.computed_by}; weights: {bill.weights}; cache: {bill.cache_dtype}"
    tables = (Text(how), _work(bill), _ledger(bill.cache), _memory(bill), _dollars(bill), _notes(bill))
    parts = Group(*(Padding(table, (0, 0, 1, 0)) for table in tables))
    out.print(Panel(parts, title=title, title_align="left", expand=False, padding=(1, 1, 0, 1)))


def save_picture(bill: Bill, path: Path) -> None:
    """Draws the bill into an SVG file, as a terminal shows it."""
    drawn = Console(record=True, width=PIPED_WIDTH, file=io.StringIO())
    print_bill(bill, drawn)
    # Rich's own frame names fonts by addresses on the web; a picture must not ask for anything.
    frame = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    drawn.save_svg(str(path), title="windowtax demo", code_format=frame)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _work(bill: Bill) -> Table:
    speed = bill.speed
    table = _table("work", "tokens", "time", "tokens/s", "floor here", "of floor")
    table.add_row(
        "prefill (TTFT)",
        f"{bill.num_prompt_tokens:,}",
        format_seconds(speed.ttft_s),
        f"{speed.prefill_tokens_per_s:,.0f}",
        format_seconds(speed.prefill_floor.seconds),
        f"{speed.prefill_of_floor:.0%}",
    )
    if speed.tpot_s is not None and speed.decode_tokens_per_s is not None:
        table.add_row(
            "decode (TPOT)",
            f"{bill.num_output_tokens:,}",
            format_seconds(speed.tpot_s),
            f"{speed.decode_tokens_per_s:,.1f}",
            format_seconds(speed.decode_floor.seconds),
            f"{speed.decode_of_floor:.0%}",
        )
        if bill.drafted_tokens:
            guessed = f"{bill.accepted_tokens:,} of {bill.drafted_tokens:,} drafts"
            table.add_row("speculation", guessed, f"{bill.decode_steps:,} steps", "", "", "")
    else:
        table.add_row("decode", f"{bill.num_output_tokens:,}", "-", "-", "-", "-")
    return table


def _ledger(cache: CacheLedger) -> Table:
    table = _table("KV cache", "predicted (planner)", "allocated / measured", "")
    for name, predicted, found, how in (
        ("pool", cache.pool_predicted_bytes, cache.pool_allocated_bytes, "allocated"),
        ("held at the peak", cache.held_predicted_bytes, cache.held_measured_bytes, "measured"),
    ):
        verdict = Text("equal", "green") if predicted == found else Text(f"off by {found - predicted:+,} B", "bold red")
        table.add_row(name, f"{predicted:,} B", f"{found:,} B {how}", verdict)
    table.add_row("per further token", f"{cache.growth_bytes_per_token:,} B", "", "")
    if cache.window_bytes:
        table.add_row("windows, when full", f"{cache.window_bytes:,} B", "", "")
    if cache.workspace_bytes:
        table.add_row("keys of the begun block", f"{cache.workspace_bytes:,} B", "", "")
    table.add_row("held over time", "", f"{cache.byte_seconds / 2**30:,.3f} GiB·s measured", "")
    return table


def _memory(bill: Bill) -> Table:
    table = _table("memory", "bytes", "")
    table.add_row("weights", f"{bill.weight_bytes:,} B", format_bytes(bill.weight_bytes))
    table.add_row("KV pool", f"{bill.cache.pool_allocated_bytes:,} B", format_bytes(bill.cache.pool_allocated_bytes))
    table.add_row("process, before", f"{bill.resident_before_bytes:,} B", format_bytes(bill.resident_before_bytes))
    table.add_row("process, after", f"{bill.resident_bytes:,} B", format_bytes(bill.resident_bytes))
    table.add_row("process, at its peak", f"{bill.peak_resident_bytes:,} B", format_bytes(bill.peak_resident_bytes))
    return table


def _dollars(bill: Bill) -> Table:
    table = _table("dollars for this call", "cold", "prefix cached", "prices checked")
    if bill.own_usd is not None and bill.usd_per_hour is not None:
        table.add_row(f"here, at ${bill.usd_per_hour:.3g} an hour", format_usd(bill.own_usd), "", "")
    for pair in bill.api:
        cold, cached = float(pair.cold.total_usd), float(pair.cached.total_usd)
        name = f"{pair.cold.provider} {pair.cold.model}"
        table.add_row(name, format_usd(cold), format_usd(cached), pair.cold.checked)
    return table


def _beaten(speed: Speed) -> bool:
    return speed.decode_of_floor is not None and speed.decode_of_floor > 1


def _notes(bill: Bill) -> Text:
    hardware, speed = bill.hardware, bill.speed
    lines = [
        f"{bill.cache_read_share:.0%} of the bytes that a decode step reads are the cache: "
        f"{format_seconds(bill.cache_read_s)} of it at this machine's bandwidth (derived).",
        f"Floor: reads at {format_rate(hardware.read_bytes_per_s.value, 'B/s')}, "
        f"measured {hardware.read_bytes_per_s.date}. Prefill is bound by "
        f"{speed.prefill_floor.bound_by}, decode by {speed.decode_floor.bound_by}.",
        *(["A step beat that floor: some of what it reads lay in the processor's cache."] if _beaten(speed) else []),
        "API prices: as many tokens at the sellers' list prices; their tokenizers and their models are other ones.",
    ]
    return Text("\n".join(lines), style="dim")
