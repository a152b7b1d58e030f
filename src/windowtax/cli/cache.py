"""`windowtax cache`: the folder of kept prefixes that servers use: look into it, check it, and decide what stays."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, parse_bytes
from windowtax.catalog.machine import THIS_MACHINE
from windowtax.cli import cache_text as text
from windowtax.cli.cache_explain import explain
from windowtax.cli.console import console, messages
from windowtax.cli.price_words import print_json
from windowtax.engine.kept import KeptPrefixes, Run, whole_paths
from windowtax.engine.tier_options import default_folder

app = typer.Typer(
    no_args_is_help=True, help="Kept prefixes: list, check, pin, move and clear those on disk; explain why one missed."
)
app.command("explain")(explain)

Folder = Annotated[
    Path | None, typer.Option(help="The folder that --cache-ssd names. Default: in the user's cache folder.")
]
Key = Annotated[str, typer.Argument(metavar="NAME", help="The beginning of a name that `windowtax cache ls` shows.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
HardwareName = Annotated[str, typer.Option("--hardware", help="What would compute it again: a device of the catalog.")]


@app.command("ls")
def list_prefixes(
    folder: Folder = None,
    hardware: HardwareName = THIS_MACHINE,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Show so many rows; 0 for all.")] = 50,
    as_json: Json = False,
) -> None:
    """What is kept, for which beginnings of prompts, what it would take to compute again and what keeping it costs."""
    with _opened(folder) as kept:
        runs = list(kept.runs())
        rows = text.rows(kept, runs if as_json or not limit else runs[:limit], hardware)
        if as_json:
            print_json(text.listing(kept, rows))
        else:
            text.show_listing(console(), kept, rows, len(runs))


@app.command()
def show(key: Key, folder: Folder = None, hardware: HardwareName = THIS_MACHINE, as_json: Json = False) -> None:
    """One prefix from its beginning: its text, its bytes, what it would take to compute it again."""
    with _opened(folder) as kept:
        run = kept.find(key)
        rows = text.rows(kept, run.path, hardware, words=2000)
        found = text.whole(kept, run, hardware)
        if as_json:
            print_json({"prefix": found, "runs": rows, "form": kept.form_of(run)})
        else:
            text.show_prefix(console(), kept, run, rows, found)


@app.command()
def verify(folder: Folder = None, as_json: Json = False) -> None:
    """Read every byte and check it. What is damaged goes, unless a server has the folder. Exits with 1 if any was."""
    with _opened(folder, writes=None) as kept:
        bad = kept.verify()
        counters = kept.counters
        found: dict[str, Any] = {
            "records": counters.read_records + len(bad),
            "bytes_read": counters.read_bytes,
            "seconds": counters.read_s,
            "damaged": [entry.key.hex() for entry in bad],
            "skipped_bytes": counters.damaged_bytes,
            "unreachable_records": len(kept.unreachable),
            "removed": bool(bad) and not kept.tier.read_only,
        }
    if as_json:
        print_json(found)
    else:
        text.show_verified(console(), found)
    if bad or counters.damaged_bytes:
        raise typer.Exit(1)


@app.command()
def pin(
    key: Key,
    folder: Folder = None,
    off: Annotated[bool, typer.Option("--off", help="Let it go like all others again.")] = False,
    as_json: Json = False,
) -> None:
    """Keep a prefix whatever else needs the room. A server that runs sees it before it lets anything go."""
    with _opened(folder) as kept:
        run = kept.find(key)
        pinned_bytes = kept.pin(run, pinned=not off)
        found = {"name": run.key, "pinned": not off, "pinned_bytes": pinned_bytes}
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{run.key[:8]} is {'pinned' if not off else 'no longer pinned'}; {format_bytes(pinned_bytes)} are pinned."
    )


@app.command()
def gc(
    folder: Folder = None,
    to: Annotated[str | None, typer.Option("--to", help="Shrink to so many bytes: 20GB or 20GiB.")] = None,
    as_json: Json = False,
) -> None:
    """Give back the room of what no prompt can reach any more, and of the least recently used past a budget."""
    with _opened(folder, writes=True) as kept:
        before = kept.file_bytes
        kept.collect(None if to is None else parse_bytes(to))
        after = kept.file_bytes
    _say_room(before, after, as_json)


@app.command("export")
def export_to(
    to: Annotated[Path, typer.Argument(help="A folder; made where there is none. It can be used as --cache-ssd.")],
    key: Annotated[list[str] | None, typer.Option("--prefix", help="Only this one and what continues it.")] = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Copy prefixes into another folder, to take them to another machine."""
    _copy(_path(folder), to, key or [], as_json)


@app.command("import")
def import_from(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A folder of kept prefixes.")],
    key: Annotated[list[str] | None, typer.Option("--prefix", help="Only this one and what continues it.")] = None,
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Copy prefixes from another folder; every record is checked on the way."""
    _copy(source, _path(folder), key or [], as_json)


@app.command()
def clear(
    key: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="This one and what continues it; else all.")
    ] = None,
    folder: Folder = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Let prefixes go. Nothing is lost but time: they are computed again when they are asked for."""
    with _opened(folder, writes=True) as kept:
        run = None if key is None else kept.find(key)
        before = kept.file_bytes
        if run is None and not yes:
            if not sys.stdin.isatty():
                raise BadInput(f"This would clear {format_bytes(before)} of prefixes.", "Say --yes if that is meant.")
            typer.confirm(f"Clear {format_bytes(before)} of kept prefixes?", abort=True)
        kept.clear(run)
        after = kept.file_bytes
    _say_room(before, after, as_json)


def _path(folder: Path | None) -> Path:
    return default_folder() if folder is None else folder


@contextmanager
def _opened(folder: Path | None, *, writes: bool | None = False) -> Generator[KeptPrefixes]:
    """A folder that is there. writes None: for writing where no server has it."""
    path = _path(folder)
    if not (path / "segments").is_dir():
        raise BadInput(
            f"Nothing is kept in {path}.", "`windowtax serve --cache-ssd PATH` keeps prefixes; see --folder."
        )
    if writes is None:
        try:
            kept = KeptPrefixes(path, writes=True)
        except BadInput:
            messages().print("A server has this folder; damaged records are only told, not taken out.")
            kept = KeptPrefixes(path)
    else:
        kept = KeptPrefixes(path, writes=writes)
    try:
        yield kept
    finally:
        kept.close()


def _copy(source: Path, target: Path, keys: list[str], as_json: bool) -> None:
    if source.resolve() == target.resolve():
        raise BadInput("A folder is not copied onto itself.", "Name another one.")
    with _opened(source) as kept:
        other = KeptPrefixes(target, writes=True)
        try:
            runs: list[Run] = whole_paths([kept.find(key) for key in keys]) if keys else list(kept.runs())
            count, num_bytes = kept.copy_to(other, runs)
        finally:
            other.close()
        damaged = kept.counters.corrupt_records
    if as_json:
        print_json({"records": count, "bytes": num_bytes, "damaged": damaged, "to": str(target)})
        return
    left_out = f"; {damaged:,} damaged ones were left out" if damaged else ""
    typer.echo(f"{count:,} blocks, {format_bytes(num_bytes)}, from {source} to {target}{left_out}")


def _say_room(before: int, after: int, as_json: bool) -> None:
    if as_json:
        print_json({"bytes_before": before, "bytes_after": after})
        return
    typer.echo(f"{format_bytes(before)} before, {format_bytes(after)} now; {format_bytes(before - after)} given back.")
