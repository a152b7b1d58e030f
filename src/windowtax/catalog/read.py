"""From what a person types to a ModelSpec: a name of the catalog, a config.json or its folder, or a .gguf file."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import check_tensors, gguf_config
from windowtax.catalog.gguf_metadata import GgufHeader, read_gguf_header
from windowtax.catalog.nested import decoder_config, inner_config, is_wrapper
from windowtax.catalog.not_yet import missing_piece, telling_piece
from windowtax.catalog.quantisation import checkpoint_cache_dtype, with_quantisation
from windowtax.spec.model import ModelSpec

_MODELS = Path(__file__).parent / "models"


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """One model of the catalog.

    source: where its config.json comes from. date: the day both were checked (ISO). total_parameters: the published
    exact count of the decoder, tied weights once; parameters_source: who publishes it.
    """

    name: str
    title: str
    file: str
    source: str
    date: str
    total_parameters: int
    parameters_source: str
    aliases: tuple[str, ...] = ()
    notes: str = ""

    @property
    def path(self) -> Path:
        """Its config.json."""
        return _MODELS / self.file


def read_model(name_or_path: str) -> ModelSpec:
    """The spec of a model, by catalog name or alias (in any case), or by a path.

    Raises UnknownName, BadInput, or UnsupportedModel for what this version cannot do exactly.
    """
    if name_or_path.lower() in _names():
        entry = catalog_entry(name_or_path)
        return read_config_file(entry.path, entry.name)
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return read_config_file(path / "config.json", path.resolve().name)
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return read_gguf_file(path)[0]
        return read_config_file(path, path.resolve().parent.name if path.name == "config.json" else path.stem)
    near = get_close_matches(name_or_path.lower(), _names(), n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    raise UnknownName(
        f"There is no model called {name_or_path!r} in the catalog, and no such file.",
        f"{hint}A path to a config.json, to a folder that holds one, or to a .gguf file will do too.",
    )


def read_config_file(path: Path, name: str) -> ModelSpec:
    """The spec that a config.json describes, with what ModelOpt's file beside it adds. Raises BadInput where a file
    cannot be read."""
    return read_config(with_quantisation(read_json(path), path), name, str(path))


_CONFIG_HINT = "Give a model's config.json, a folder that holds one, a .gguf file, or a name of the catalog."


def read_json(path: Path) -> dict[str, Any]:
    """The contents of a config.json. Raises BadInput where the file cannot be read."""
    try:
        data: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path} cannot be read as a config.json: {why}.", _CONFIG_HINT) from None
    if not isinstance(data, dict):
        raise BadInput(f"{path} holds no JSON object, so it is no config.json.", _CONFIG_HINT)
    return cast("dict[str, Any]", data)


def read_config(data: Mapping[str, Any], name: str, source: str = "") -> ModelSpec:
    """The spec that the contents of a config.json describe. source: shown in errors."""
    family = config_family(data, source or name)
    spec = family.read_config(decoder_config(data, source or name), name)
    return replace(spec, cache_dtype=checkpoint_cache_dtype(data, source or name))


def read_gguf_file(path: Path) -> tuple[ModelSpec, GgufHeader]:
    """The spec of a GGUF file, and its header. Of families that run, every tensor is checked against the spec."""
    header = read_gguf_header(path)
    family = gguf_family(header)
    spec = family.read_gguf(gguf_config(header), path.stem)
    if family.gguf_names is not None:
        check_tensors(family, spec, header)
    return spec, header


def config_family(data: Mapping[str, Any], source: str) -> Family:
    """The family that a config belongs to, by "architectures", else by "model_type". Raises UnsupportedModel.

    A decoder inside a known wrapper is planned, never run: where its weights stand is the wrapper's own affair.
    """
    inner = inner_config(data) or {}
    if inner and is_wrapper(data):
        return replace(config_family(inner, f"{source}, the decoder inside"), runs=False, hf_names=None)
    listed: object = data.get("architectures") or inner.get("architectures") or []
    if not isinstance(listed, list):
        raise BadInput(f"{source}: 'architectures' is {listed!r}, but a list of names was expected.")
    listed = cast("list[object]", listed)
    kinds = [data.get("model_type"), inner.get("model_type")]
    words = [word for word in (*listed, *kinds) if isinstance(word, str)]
    if not words:
        raise BadInput(f"{source}: there is neither 'architectures' nor 'model_type'.", "Give a complete config.json.")
    piece = missing_piece(words)
    # A model_type counts only where no architecture is named: that of a Llama with a classifier for a head is "llama".
    words = words[: len(listed)] or words
    found = next((family for word in words for _, family in FAMILIES.items() if word in family.architectures), None)
    piece = piece or telling_piece({**data, **inner}, found.parts if found else ())
    if piece:
        raise UnsupportedModel(f"{source}: {words[0]} needs {piece}, which no family here reads for it.")
    if found is None:
        raise UnsupportedModel(
            f"{source}: no family here reads the architecture {words[0]!r}.",
            f"Known families: {', '.join(FAMILIES.names())}. To add one: a file in catalog/families.",
        )
    return found


def gguf_family(header: GgufHeader) -> Family:
    """The family of a GGUF file's architecture. Raises UnsupportedModel."""
    architecture = header.architecture
    namesake = FAMILIES.find(architecture)
    if namesake is not None and architecture in namesake.gguf_architectures:
        return namesake
    for _, family in FAMILIES.items():
        if architecture in family.gguf_architectures:
            return family
    known = sorted(name for _, family in FAMILIES.items() for name in family.gguf_architectures)
    raise UnsupportedModel(
        f"{header.path}: no family here reads GGUF files of the architecture {architecture!r}.",
        f"GGUF architectures that are read: {', '.join(known)}.",
    )


def model_names() -> list[str]:
    """The names of the catalog, sorted; aliases are left out."""
    return sorted(_index())


def catalog_entry(name: str) -> CatalogEntry:
    """The entry of that name or alias, in any case. Raises UnknownName with near matches."""
    names = _names()
    if name.lower() not in names:
        near = get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        raise UnknownName(
            f"There is no model called {name!r} in the catalog.", f"Did you mean {', '.join(near)}?" if near else ""
        )
    found = names[name.lower()]
    entry: dict[str, Any] = {**_index()[found], "name": found}
    entry["aliases"] = tuple(entry.get("aliases", ()))
    return CatalogEntry(**entry)


@cache
def _index() -> dict[str, dict[str, Any]]:
    return tomllib.loads((_MODELS / "index.toml").read_text(encoding="utf-8"))


@cache
def _names() -> dict[str, str]:
    """Every name and alias in lower case -> the name."""
    found = {name.lower(): name for name in _index()}
    for name, entry in _index().items():
        found.update({alias.lower(): name for alias in entry.get("aliases", ())})
    return found
