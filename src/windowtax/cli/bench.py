"""`windowtax bench`: measure this machine."""

import typer

from windowtax.cli import bench_floor, bench_quality

app = typer.Typer(no_args_is_help=True, help="Measure this machine.")


app.command()(bench_floor.floor)
app.command()(bench_quality.quality)


@app.callback()
def bench() -> None:
    """Measure this machine."""
