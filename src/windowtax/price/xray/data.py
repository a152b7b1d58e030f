"""The tables of catalog/xray, read strictly: priors, chips, tiers, windows, designs, the back-test's models."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import windowtax.catalog
from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig

FOLDER = Path(windowtax.catalog.__file__).parent / "xray"

T = TypeVar("T")


@cache
def _raw(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def table(name: str, key: str) -> dict[str, StrictConfig]:
    """The named tables under `key` of a file: {"h100": ...}. Plain values beside them are left out."""
    found = cast("dict[str, object]", _raw(name)[key])
    return {
        entry: StrictConfig(cast("dict[str, Any]", value), f"{name}.toml [{key}.{entry}]")
        for entry, value in found.items()
        if isinstance(value, dict)
    }


def rows(name: str, key: str) -> list[StrictConfig]:
    """The array of tables [[key]] of a file."""
    found = cast("list[dict[str, Any]]", _raw(name)[key])
    return [StrictConfig(entry, f"{name}.toml [[{key}]] {index + 1}") for index, entry in enumerate(found)]


def listed(name: str, key: str, entry: str) -> list[Any]:
    """A plain array: the value `entry` of the table `key`."""
    return cast("list[Any]", _raw(name)[key][entry])


def typed_list(config: StrictConfig, key: str, kind: type[T]) -> tuple[T, ...]:
    """An array whose members all are of `kind`. Raises BadInput."""
    found = cast("list[object]", config.take(key, list))
    if not all(isinstance(value, kind) for value in found):
        raise BadInput(f"{config.source}: {key} should hold {kind.__name__} only.")
    return tuple(cast("list[T]", found))
