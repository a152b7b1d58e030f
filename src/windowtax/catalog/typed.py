"""Lists and dicts out of a StrictConfig, typed by their contents' contract rather than as unknown."""

from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig


def optional_dict(config: StrictConfig, key: str) -> dict[str, Any] | None:
    """The JSON object at `key`, None where absent or null. Raises BadInput on another type."""
    return cast("dict[str, Any] | None", config.take_optional(key, dict))


def optional_list(config: StrictConfig, key: str) -> list[Any] | None:
    """The JSON array at `key`, None where absent or null. Raises BadInput on another type."""
    return cast("list[Any] | None", config.take_optional(key, list))


def required_list(config: StrictConfig, key: str, length: int) -> list[Any]:
    """The JSON array at `key`, of that length. Raises BadInput."""
    found = cast("list[Any]", config.take(key, list))
    if len(found) != length:
        raise BadInput(f"{config.source}: {key!r} has {len(found)} entries, but {length} were expected.")
    return found
