"""The command `windowtax`: its subcommands, and how errors are shown. Heavy imports happen inside the commands."""

import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from windowtax.base.errors import WindowtaxError
from windowtax.cli.console import messages

COMMANDS = {
    "plan": "plan.plan",
    "compare": "plan.compare",
    "sweep": "plan.sweep",
    "ask": "ask.ask",
    "serve": "serve.serve",
    "demo": "demo.demo",
    "doctor": "doctor.doctor",
    "claims": "claims.claims",
    "check": "claims.check",
    "classify": "classify.classify_technique",
    "replay": "replay.replay",
    "xray": "xray.xray",
    "bill": "bill.bill",
    "bench": "bench.app",
    "cache": "cache.app",
    "models": "models.app",
    "price": "price.app",
}
"""Command -> module of this room and the function, or the group of commands, in it."""


def build(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        help="What a context window costs: plan it, run it, see the bill.",
    )
    app.callback()(lambda: None)  # with a single command typer would drop its name
    for name in names:
        module, _, attribute = COMMANDS[name].partition(".")
        found = getattr(import_module(f"windowtax.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def main() -> None:
    """Runs the command line. Errors that are answers end with exit code 2 and no traceback."""
    # Only the module of the command that is asked for is imported: a plan should not wait for the others.
    asked = sys.argv[1:2]
    try:
        build(asked if asked and asked[0] in COMMANDS else COMMANDS)()
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
