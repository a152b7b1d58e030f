"""`windowtax plan MODEL --reconcile LOG` and `--engines`: cache bytes as the model, an engine and a log have them."""

import json
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.units import format_bytes, format_tokens
from windowtax.plan.logs import read_log
from windowtax.plan.profiles.base import Row, Subject
from windowtax.plan.reconcile import Reconciliation, engine_table, reconcile, reconciliation_json
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.model import ModelSpec

_QUANTITY, _FIGURE, _PRINTED, _DIFFERENCE = 30, 18, 16, 18
_NOTE_INDENT = 4


def run_reconcile(
    console: Console, spec: ModelSpec, source: str, dtype: CacheDtype, ranks: int | None, *, as_json: bool
) -> None:
    """Reads the log from a path, or from standard input for "-", and prints the table or its JSON.

    Raises BadInput for a log that cannot be read.
    """
    made = reconcile(spec, read_log(_text(source)), dtype, ranks)
    if as_json:
        typer.echo(json.dumps(reconciliation_json(made), indent=2))
    else:
        print_reconciliation(console, made)


def run_engines(
    console: Console, spec: ModelSpec, dtype: CacheDtype, ranks: int, context_tokens: int, *, as_json: bool
) -> None:
    """What one sequence of this length takes on one rank of each engine, beside the architecture's own bytes."""
    subject = Subject(spec, dtype, ranks)
    rows = engine_table(subject, context_tokens)
    if as_json:
        record = {
            "model": spec.name,
            "cache_dtype": dtype.name,
            "tensor_parallel": ranks,
            "context_tokens": context_tokens,
            "logical_bytes": subject.whole.bytes_for(context_tokens),
            "engines": [
                {"engine": name, "error": taken.message}
                if isinstance(taken, UnsupportedModel)
                else {
                    "engine": name,
                    "logical_bytes": taken.logical,
                    "allocated_bytes": taken.bytes,
                    "why": list(taken.why),
                }
                for name, taken in rows
            ],
        }
        typer.echo(json.dumps(record, indent=2))
        return
    console.print(Text(_heading(subject, f"one sequence of {format_tokens(context_tokens)} tokens"), style="bold"))
    _line(console, "bytes on one rank", "logical", "allocated", "", "difference", style="dim")
    _line(console, "", "derived", "derived", "", "", style="dim")
    for name, taken in rows:
        if isinstance(taken, UnsupportedModel):
            _line(console, name, "-", "-", "", "")
            _note(console, taken.message)
            continue
        more = f"{taken.bytes / taken.logical - 1:+.1%}" if taken.logical else "-"
        figures = (f"{taken.logical:,} B", f"{taken.bytes:,} B", format_bytes(taken.bytes))
        _line(console, name, *figures, more)
        _note(console, " ".join(taken.why))


def print_reconciliation(console: Console, made: Reconciliation) -> None:
    """The table: one line per quantity, the reason of a difference under it."""
    console.print(Text(_heading(made.subject, f"measured: {made.title}"), style="bold"))
    console.print(Text(_verdict(made)))
    _line(console, "", "logical", made.title, "log", "difference", style="dim")
    _line(console, "", "derived", "derived", "measured", "", style="dim")
    for row in made.rows:
        shown = (_figure(row.logical, row.unit), _figure(row.profile, row.unit), row.measured.text, _difference(row))
        _line(console, row.quantity, *shown)
        _note(console, row.note)
    for note in made.notes:
        console.print(Text(textwrap.fill(note, console.width - 1)))


def _verdict(made: Reconciliation) -> str:
    off = [row for row in made.rows if not row.agrees]
    if not off:
        return "The log is what the profile gives, to every digit printed."
    unknown = sum(not row.explained for row in off)
    known = "all explained" if not unknown else f"{unknown} unexplained"
    return f"{len(off)} of {len(made.rows)} figures differ from the profile, {known}."


def _text(source: str) -> str:
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).expanduser().read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInput(
            f"{source} cannot be read: {error.strerror}.", "Give a log file, or - for standard input."
        ) from None


def _heading(subject: Subject, what: str) -> str:
    ranks = f"{subject.tensor_parallel} tensor-parallel ranks" if subject.tensor_parallel > 1 else "1 rank"
    return f"{subject.spec.name}, cache {subject.dtype.name}, {ranks}; {what}"


def _line(
    console: Console, quantity: str, logical: str, profile: str, measured: str, difference: str, style: str = ""
) -> None:
    """One line of a table. Where the terminal leaves no room for the quantity, it stands above its figures."""
    room = min(_QUANTITY, console.width - 2 * _FIGURE - _PRINTED - _DIFFERENCE)
    if len(quantity) >= room:
        console.print(Text(quantity, style=style))
        quantity = ""
    figures = "".join(cell.rjust(_FIGURE) for cell in (logical, profile))
    told = f"{quantity:<{room}}{figures}{measured:>{_PRINTED}}{difference:>{_DIFFERENCE}}".rstrip()
    console.print(Text(told, style=style))


def _note(console: Console, note: str) -> None:
    if note:
        indent = " " * _NOTE_INDENT
        text = textwrap.fill(note, console.width - 1, initial_indent=indent, subsequent_indent=indent)
        console.print(Text(text, style="dim"))


def _figure(value: Fraction | int | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "x":
        return f"{float(value):,.2f}x"
    return f"{int(value):,} B" if unit == "B" else f"{int(value):,}"


def _difference(row: Row) -> str:
    if row.difference is None:
        return "-"
    if row.agrees:
        return "0" if row.measured.slack == 0 else "0 (rounding)"
    if row.unit == "x":
        return f"{float(row.difference):+,.2f}x"
    share = f" {float(row.difference / row.profile):+.1%}" if row.profile else ""
    return (f"{int(row.difference):+,}" if row.unit != "B" else _signed(row.difference)) + share


def _signed(difference: Fraction) -> str:
    return ("+" if difference > 0 else "-") + format_bytes(abs(difference))
