"""Writes the generated pages and the generated parts of others; with --check it only says what is stale.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from windowtax.base.errors import BadInput
from windowtax.base.units import format_bytes, format_rate
from windowtax.catalog.family import FAMILIES
from windowtax.catalog.hardware_catalog import hardware, hardware_names
from windowtax.catalog.read import catalog_entry, model_names, read_model
from windowtax.cli.main import build
from windowtax.hub.catalog import model_sources
from windowtax.nn.attention.base import ATTENTION
from windowtax.plan.accuracy import accuracy_page
from windowtax.plan.claims.page import claims_page
from windowtax.plan.reference import reference_page
from windowtax.plan.tables import tables_page
from windowtax.price.xray.backtest import backtest
from windowtax.price.xray.latency import latency_trials
from windowtax.price.xray.report import refreshed
from windowtax.spec.attention.base import KINDS
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES, CacheDtype
from windowtax.spec.rope import ROPE_SCALINGS
from windowtax.store.kv import refuse_unstorable

ROOT = Path(__file__).parents[1]
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: list[str], rows: list[list[str]], align: str = "") -> str:
    """A Markdown table. align: one of "l" and "r" per column, left where it is short."""
    marks = ["--:" if align[i : i + 1] == "r" else "---" for i in range(len(header))]
    lines = [header, marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def families() -> str:
    """The families that run, and how many more are planned."""
    rows = _family_rows()
    running = [[row[0], *row[2:]] for row in rows if row[1] == "runs"]
    rest = (
        f"{len(rows) - len(running)} more families are planned, {len(list(model_names()))} models in all: "
        "[docs/reference/support.md](docs/reference/support.md)."
    )
    return table(["family", "attention kinds", "read from", "such as"], running) + "\n\n" + rest


def all_families() -> str:
    """The support matrix: which family runs, which is planned only, and with which attention kinds."""
    return table(["family", "", "attention kinds", "read from", "such as"], _family_rows())


def _family_rows() -> list[list[str]]:
    kinds: dict[str, set[str]] = {}
    names: dict[str, list[str]] = {}
    for name in model_names():
        spec = read_model(name)
        kinds.setdefault(spec.family, set()).update(spec.kinds)
        names.setdefault(spec.family, []).append(name)
    rows: list[list[str]] = []
    for name, family in FAMILIES.items():
        reads = "config.json, GGUF" if family.gguf_reader else "config.json"
        found = ", ".join(sorted(kinds.get(name, ())))
        rows.append([name, "runs" if family.runs else "plans only", found, reads, ", ".join(names.get(name, [])[:3])])
    return sorted(rows, key=lambda row: (row[1] != "runs", row[0]))


def attention_kinds() -> str:
    """Attention kinds, with the first sentence of each class, and whether the engine computes them yet."""
    rows = [
        [name, "runs" if name in ATTENTION else "plans only", (kind.__doc__ or "").strip().split("\n")[0]]
        for name, kind in KINDS.items()
    ]
    return table(["attention kind", "", "what it is"], rows)


def cache_dtypes() -> str:
    """Cache dtypes: bytes per head and token, and whether the engine stores them yet."""
    rows = [
        [name, _vector_bytes(dtype), "runs" if _is_stored(dtype) else "plans only", dtype.note]
        for name, dtype in CACHE_DTYPES.items()
    ]
    return table(["cache dtype", "bytes per vector of 256", "", "what is stored"], rows, "lr")


def _is_stored(dtype: CacheDtype) -> bool:
    try:
        planes = dtype.key_planes(1, 256) + dtype.values.vector_planes("v", 1, 256)
        refuse_unstorable(CacheLayout.of([LayerCache(planes)]))
    except BadInput:
        return False
    return True


def _vector_bytes(dtype: CacheDtype) -> str:
    try:
        return f"{dtype.vector_bytes(256):g}"
    except BadInput:  # a layout of another sort of rows; its note says which
        return ""


def rope_scalings() -> str:
    """RoPE scalings, with the first sentence of each class."""
    rows = [[name, (scaling.__doc__ or "").strip().split("\n")[0]] for name, scaling in ROPE_SCALINGS.items()]
    return table(["scaling", "what it does"], rows)


def models() -> str:
    """The catalog of models, with what each costs per token and at 131,072 tokens."""
    rows: list[list[str]] = []
    for name in model_names():
        entry, spec = catalog_entry(name), read_model(name)
        layout = spec.layout(CACHE_DTYPES["bf16"])
        rows.append(
            [
                name,
                f"{spec.total_parameters:,}",
                f"{spec.max_context_tokens:,}",
                f"{layout.growth_bytes_per_token:,}",
                f"{layout.window_bytes:,}",
                format_bytes(layout.bytes_for(131_072)),
                f"{entry.source} ({entry.date})",
            ]
        )
    header = ["model", "parameters", "window claimed", "growth B/token", "windows B", "one user at 131,072", "source"]
    return table(header, rows, "lrrrrr")


def devices() -> str:
    """The catalog of hardware."""
    rows: list[list[str]] = []
    for name in hardware_names():
        if name == "this-machine":
            continue
        device = hardware(name)
        bf16 = device.peak_flops_per_s.get("bf16")
        price = device.usd_per_hour
        rows.append(
            [
                name,
                device.title,
                format_bytes(device.memory_bytes.value),
                format_rate(device.read_bytes_per_s.value, "B/s"),
                "" if bf16 is None else format_rate(bf16.value, "FLOP/s"),
                "" if price is None else f"{price.value:.2f} ({price.date})",
            ]
        )
    return table(["name", "device", "memory", "reads", "bf16", "USD per hour"], rows, "llrrrr")


def weights() -> str:
    """The models that can be pulled by name."""
    rows = [
        [name, source.title, format_bytes(source.size_bytes), f"{source.context_tokens:,}", source.licence.name]
        for name, source in model_sources().items()
    ]
    return table(["name", "model", "file", "window", "licence"], rows, "llrr")


def commands() -> str:
    """Every command with its arguments and options, as the program itself knows them."""
    return "\n".join(_command_pages(typer.main.get_command(build()), "windowtax"))


def _command_pages(command: Any, path: str) -> list[str]:
    # Typer brings its own copy of click, so its classes are the only ones to ask for.
    if isinstance(command, TyperGroup):
        inner = sorted(command.commands.items())
        return [page for name, sub in inner for page in _command_pages(sub, f"{path} {name}")]
    arguments = " ".join(str(p.metavar or p.name).upper() for p in command.params if isinstance(p, TyperArgument))
    lines = [f"## {path} {arguments}".rstrip(), "", (command.help or "").strip(), ""]
    rows = [
        [f"`{', '.join(p.opts)}`", "" if p.default in (None, False) else f"`{p.default}`", p.help or ""]
        for p in command.params
        if isinstance(p, TyperOption)
    ]
    return [*lines, table(["option", "default", ""], rows)] if rows else lines


PARTS: dict[str, Callable[[], str]] = {
    "families": families,
    "all_families": all_families,
    "attention_kinds": attention_kinds,
    "cache_dtypes": cache_dtypes,
    "rope_scalings": rope_scalings,
    "models": models,
    "devices": devices,
    "weights": weights,
    "commands": commands,
}
PAGES: dict[str, Callable[[str], str]] = {
    "docs/reference/plan-json.md": lambda _: reference_page(),
    "docs/claims.md": lambda _: claims_page(),
    "docs/accuracy.md": lambda _: accuracy_page(),
    "docs/serving-tables.md": lambda _: tables_page(),
    "docs/xray.md": lambda page: refreshed(page, backtest(), latency_trials()),
}
"""Pages that are generated whole, or by a room of their own: from what they say now to what they should say."""


def stale_files(write: bool) -> list[Path]:
    """The files whose generated text is not what it should be; writes them where asked."""
    stale: list[Path] = []
    wanted = {ROOT / name: make(_text(ROOT / name)) for name, make in PAGES.items()}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = wanted.get(path, _text(path))
        wanted[path] = _PART.sub(lambda part: part[1] + PARTS[part[2]]() + part[3], text)
    for path, text in wanted.items():
        if _text(path) != text:
            stale.append(path)
            if write:
                path.write_text(text, encoding="utf-8")
    return stale


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> None:
    """Writes what is stale, or with --check fails where something is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = stale_files(write=not check)
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    if check and stale:
        sys.exit("run `make docs`")


if __name__ == "__main__":
    main()
