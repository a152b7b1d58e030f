"""`windowtax doctor`: what this installation can do here, what it uses, and why not more."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from rich.table import Table

from windowtax.cli.console import console

_PARTS = ("torch", "numpy", "tokenizers", "gguf", "safetensors", "huggingface-hub")


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False) -> None:
    """Say what was built and what runs here: kernels by instruction set, libraries, memory, measured speed."""
    report = examine()
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    out = console()
    machine = _table("machine", "", "")
    for name, value in report["machine"].items():
        machine.add_row(name.replace("_", " "), str(value))
    out.print(machine)
    kernels = _table("native kernels", "level", "built", "runs here", "why not")
    for level in report["native"]["levels"]:
        used = " (in use)" if level["name"] == report["native"]["in_use"] else ""
        kernels.add_row(level["name"] + used, _word(level["built"]), _word(level["runs"]), level["why_not"])
    if report["native"]["levels"]:
        out.print(kernels)
    out.print(report["native"]["verdict"], soft_wrap=True, highlight=False)
    libraries = _table("libraries", "", "")
    for name, found in report["libraries"].items():
        libraries.add_row(name, found or "missing: pip install 'windowtax[engine]'")
    out.print(libraries)


def examine() -> dict[str, Any]:
    """The same as data."""

    libraries = {name: _version(name) for name in _PARTS}
    return {
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "windowtax": _version("windowtax"),
            **_resources(),
            "measured_speed": _measured(),
        },
        "native": _native(has_engine=libraries["torch"] is not None),
        "libraries": libraries,
    }


def _native(*, has_engine: bool) -> dict[str, Any]:
    if not has_engine:
        return {"levels": [], "in_use": None, "verdict": "The engine is not installed: pip install 'windowtax[engine]'"}
    from windowtax.engine.backend import native_report

    return native_report()


def _measured() -> str:
    from windowtax.base.errors import BadInput
    from windowtax.catalog.machine import load_machine

    try:
        found = load_machine()
    except BadInput as error:
        return f"{error.message} {error.hint}"
    return "not yet: windowtax bench floor" if found is None else found.title


def _resources() -> dict[str, Any]:
    import psutil

    from windowtax.base.units import format_bytes

    memory = psutil.virtual_memory()
    return {
        "cpus": psutil.cpu_count() or 1,
        "memory": f"{format_bytes(memory.total)}, {format_bytes(memory.available)} available",
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _word(held: bool) -> str:
    return "yes" if held else "no"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table
