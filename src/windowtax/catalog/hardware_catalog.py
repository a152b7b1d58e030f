"""The hardware catalog: one TOML file per device in hardware/, read strictly into `Hardware`.

A figure is written as its source prints it ({ value = 3.35, unit = "TB/s", source = "spec" }) and turned into B, B/s,
FLOP/s, s or USD/h here. Law 8: a figure without a unit or a source is an error.
"""

import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.sourced import Basis, Sourced
from windowtax.base.strict import StrictConfig
from windowtax.base.units import GB, GIB, TB, TFLOPS
from windowtax.catalog.machine import THIS_MACHINE, load_machine
from windowtax.spec.dtypes import CACHE_DTYPES, ELEMENT_TYPES
from windowtax.spec.hardware import Hardware

FOLDER = Path(__file__).parent / "hardware"

UNITS: dict[str, tuple[str, float]] = {
    "GiB": ("B", GIB),
    "GB": ("B", GB),
    "TB/s": ("B/s", TB),
    "GB/s": ("B/s", GB),
    "TFLOP/s": ("FLOP/s", TFLOPS),
    "TOP/s": ("FLOP/s", TFLOPS),
    "us": ("s", 1e-6),
    "USD/h": ("USD/h", 1),
    "fraction": ("fraction", 1),
    "accelerators": ("accelerators", 1),
}
"""Units that the files may use, and what they become: (unit, factor)."""

ELEMENTS = (*ELEMENT_TYPES, "fp4")


def hardware_names() -> list[str]:
    """Every device of the catalog, and this-machine."""
    return [*sorted(_catalog()), THIS_MACHINE]


def hardware(name: str) -> Hardware:
    """The device of that name or alias ("h100" is h100-sxm). Raises UnknownName.

    "this-machine" needs a record of what was measured here; without one BadInput says how to measure.
    """
    if name == THIS_MACHINE:
        machine = load_machine()
        if machine is None:
            raise BadInput(
                "Nothing is known about this machine yet.",
                "Run `windowtax bench floor`: it measures bandwidth and FLOP/s in about a minute and keeps them.",
            )
        return machine
    wanted = _aliases().get(name.lower(), name.lower())
    if wanted not in _catalog():
        near = get_close_matches(wanted, [*hardware_names(), *_aliases()], n=3)
        hint = f"Did you mean {', '.join(near)}?" if near else f"There are: {', '.join(hardware_names())}."
        raise UnknownName(f"There is no hardware called {name!r}.", hint)
    return _catalog()[wanted]


@cache
def _catalog() -> dict[str, Hardware]:
    return {path.stem: read_hardware(path) for path in sorted(FOLDER.glob("*.toml"))}


@cache
def _aliases() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for alias in tomllib.loads(path.read_text(encoding="utf-8")).get("aliases", []):
            found[alias] = path.stem
    return found


def read_hardware(path: Path) -> Hardware:
    """One device from its TOML file. Raises BadInput or UnsupportedModel naming what is missing, unread or wrong."""
    config = StrictConfig(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    config.ignore({"aliases": "other names of the device, read by the catalog itself"})
    figures = _Figures(cast(dict[str, Any], config.take("sources", dict)), str(path))
    memory, efficiency, node = (_table(config, key) for key in ("memory", "efficiency", "node"))
    compute, price = _table(config, "compute"), _table(config, "price")
    peaks = {name: figures.take(compute, name, "FLOP/s") for name in ELEMENTS if name in compute}
    device = Hardware(
        name=path.stem,
        title=config.take("title", str),
        memory_bytes=figures.take(memory, "capacity", "B"),
        usable_memory=figures.take(memory, "usable", "fraction"),
        read_bytes_per_s=figures.take(memory, "bandwidth", "B/s"),
        bandwidth_efficiency=figures.take(efficiency, "bandwidth", "fraction"),
        widening_efficiency=figures.take(efficiency, "widening", "fraction"),
        cache_efficiency=figures.take(efficiency, "cache", "fraction"),
        link_efficiency=figures.take(efficiency, "link", "fraction"),
        peak_flops_per_s=peaks,
        compute_efficiency={
            name: figures.take(
                efficiency, f"compute_{name}" if f"compute_{name}" in efficiency else "compute", "fraction"
            )
            for name in peaks
        },
        widened_experts=figures.take(efficiency, "widened_experts", "fraction")
        if "widened_experts" in efficiency
        else None,
        layer_overhead_s=figures.take(efficiency, "layer_overhead", "s"),
        expert_overhead_s=figures.take(efficiency, "expert_overhead", "s"),
        accelerators_per_node=figures.take(node, "accelerators", "accelerators"),
        link_bytes_per_s=figures.take(node, "link", "B/s") if "link" in node else None,
        all_reduce_s=figures.take(node, "all_reduce", "s") if "link" in node else None,
        all_reduce_hop_s=figures.take(node, "all_reduce_hop", "s") if "all_reduce_hop" in node else None,
        network_bytes_per_s=figures.take(node, "network", "B/s") if "network" in node else None,
        usd_per_hour=figures.take(price, "hour", "USD/h") if "hour" in price else None,
        cache_efficiency_by_dtype={
            name: figures.take(efficiency, f"cache_{name}", "fraction")
            for name in CACHE_DTYPES
            if f"cache_{name}" in efficiency
        },
    )
    for part in (config, memory, efficiency, node, compute, price):
        part.finish()
    return device


def _table(config: StrictConfig, key: str) -> StrictConfig:
    return StrictConfig(cast(dict[str, Any], config.take(key, dict)), f"{config.source} [{key}]")


class _Figures:
    """Turns the figures of one file into Sourced numbers through the file's own [sources] table."""

    def __init__(self, sources: dict[str, Any], path: str) -> None:
        self._sources = {name: StrictConfig(entry, f"{path} [sources.{name}]") for name, entry in sources.items()}

    def take(self, table: StrictConfig, key: str, unit: str) -> Sourced:
        """The figure `key` of `table` in `unit`. Raises BadInput on another unit or an unknown source."""
        figure = StrictConfig(cast(dict[str, Any], table.take(key, dict)), f"{table.source}.{key}")
        written, source = figure.take("unit", str), figure.take("source", str)
        if UNITS.get(written, ("", 0))[0] != unit:
            raise BadInput(f"{figure.source}: the unit {written!r} is not one of {unit}.")
        if source not in self._sources:
            raise BadInput(f"{figure.source}: there is no source called {source!r}.")
        value = figure.take("value", float) * UNITS[written][1]
        note = figure.take("note", str, "")
        figure.finish()
        entry = self._sources[source]
        text = entry.take("text", str)
        return Sourced(
            value=value,
            unit=unit,
            basis=Basis(entry.take("basis", str)),
            source=f"{text}; {note}" if note else text,
            date=entry.take("date", str),
        )
