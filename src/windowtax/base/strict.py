"""Strict reading of configs. Law 3: a key is read, or ignored with a reason, or an error names it."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from windowtax.base.errors import BadInput, UnsupportedModel

T = TypeVar("T")
REQUIRED: Any = object()


class StrictConfig:
    """A mapping that remembers which of its keys were read; `finish()` names the ones that nobody read.

    source: shown in errors (a path or a model name).
    """

    def __init__(self, data: Mapping[str, Any], source: str) -> None:
        self._data = dict(data)
        self._seen: set[str] = set()
        self.source = source

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def take(self, key: str, kind: type[T], default: T = REQUIRED) -> T:
        """The value of `key`, checked to be of `kind`; null counts as absent. Raises BadInput."""
        value = self.take_optional(key, kind)
        if value is not None:
            return value
        if default is REQUIRED:
            raise BadInput(f"{self.source}: the key {key!r} is missing.", "Give the complete config of the model.")
        return default

    def take_optional(self, key: str, kind: type[T]) -> T | None:
        """The value of `key`, or None where it is absent or null. Raises BadInput on another type."""
        self._seen.add(key)
        value = self._data.get(key)
        if value is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return cast(T, float(value))
        if kind is int and isinstance(value, float) and value.is_integer():
            return cast(T, int(value))
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise BadInput(f"{self.source}: {key!r} is {value!r}, but a value of type {kind.__name__} was expected.")
        return cast(T, value)

    def expect(self, key: str, *allowed: object) -> None:
        """Raises UnsupportedModel unless `key` is absent, null or one of `allowed`."""
        self._seen.add(key)
        value = self._data.get(key)
        if value is not None and value not in allowed:
            choices = ", ".join(repr(choice) for choice in allowed)
            raise UnsupportedModel(
                f"{self.source}: {key!r} is {value!r}; this version computes only {choices} exactly.",
                "Open an issue with the model's config.json.",
            )

    def ignore(self, reasons: Mapping[str, str]) -> None:
        """Marks keys as known and of no effect on bytes, FLOPs or logits. Each needs a reason, kept for the docs."""
        self._seen.update(reasons)

    def finish(self) -> None:
        """Raises UnsupportedModel naming every key that was neither read nor ignored."""
        unread = sorted(set(self._data) - self._seen)
        if unread:
            shown = ", ".join(f"{key}={self._data[key]!r}"[:80] for key in unread)
            raise UnsupportedModel(
                f"{self.source}: nobody reads {'this key' if len(unread) == 1 else 'these keys'}: {shown}",
                "A key that is skipped in silence can change the answer, so this is refused. If it has no effect "
                "on the model's maths, list it as ignorable with the reason; else the family's reader must read it.",
            )
