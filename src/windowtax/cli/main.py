"""The command `windowtax`: its subcommands, and how errors are shown. Heavy imports happen inside the commands."""

import sys

import typer

from windowtax.base.errors import WindowtaxError
from windowtax.cli import ask, bench, claims, classify, demo, doctor, models, plan, price, replay, xray
from windowtax.cli.console import messages

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="What a context window costs: plan it, run it, see the bill.",
)
app.command()(ask.ask)
app.command()(plan.plan)
app.command()(plan.compare)
app.command()(plan.sweep)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(claims.claims)
app.command()(claims.check)
app.command("classify")(classify.classify_technique)
app.command()(replay.replay)
app.command()(xray.xray)
app.add_typer(bench.app, name="bench")
app.add_typer(models.app, name="models")
app.add_typer(price.app, name="price")


def main() -> None:
    """Runs the command line. Errors that are answers end with exit code 2 and no traceback."""
    try:
        app()
    except WindowtaxError as error:
        show_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`); Python would complain once more at exit.
        sys.stderr.close()
        sys.exit(141)


def show_error(error: WindowtaxError) -> None:
    """What is wrong in red, what to do about it below, on standard error."""
    err = messages()
    err.print("error:", style="bold red", end=" ")
    err.print(error.message, markup=False)
    if error.hint:
        err.print(error.hint, markup=False)
