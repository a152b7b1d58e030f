"""`windowtax bench`: measure this machine."""

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.table import Table

from windowtax.base.units import format_bytes, format_rate
from windowtax.cli import bench_quality

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


app.command()(bench_quality.quality)


@app.callback()
def bench() -> None:
    """Measure this machine."""


@app.command()
def floor(as_json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Measure what this machine reads and multiplies per second, and keep it for plans and bills."""
    from windowtax.cli.extras import need_engine

    need_engine()
    from windowtax.catalog.machine import save_machine
    from windowtax.engine.gauge import measure

    console = Console(stderr=True)
    with console.status("measuring read bandwidth and matrix throughput ..."):
        record = measure()
    path = save_machine(record)
    if as_json:
        typer.echo(json.dumps(asdict(record), indent=2))
        return
    table = Table(title="this machine, measured", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("CPU", record.cpu)
    table.add_row("threads", str(record.threads))
    table.add_row("memory", format_bytes(record.memory_bytes))
    table.add_row("reads", format_rate(record.read_bytes_per_s, "B/s"))
    for element, rate in record.peak_flops_per_s.items():
        table.add_row(f"multiplies {element}", format_rate(rate, "FLOP/s"))
    out = Console()
    out.print(table)
    out.print(record.method, soft_wrap=True, highlight=False)
    out.print(f"kept in {path}", soft_wrap=True, highlight=False)
