"""What an engine profile is: how one engine turns what a CacheLayout declares into what it allocates.

A profile rounds, pads, groups and copies; the bytes of a token, a block and a state come from the layout.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

from windowtax.base.errors import UnsupportedModel
from windowtax.base.registry import Registry
from windowtax.plan.logs.record import EngineLog, Printed
from windowtax.spec.cache import CacheLayout, LayerGroup
from windowtax.spec.dtypes import CacheDtype, cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.planes import Plane

Log = TypeVar("Log", bound=EngineLog)


@dataclass(frozen=True)
class Subject:
    """What is read three ways: a model, its cache in some bits, split over so many ranks."""

    spec: ModelSpec
    dtype: CacheDtype
    tensor_parallel: int = 1

    @cached_property
    def whole(self) -> CacheLayout:
        """The model's cache, undivided: the architecture's reading."""
        return self.spec.layout(self.dtype)

    @cached_property
    def rank(self) -> CacheLayout:
        """The cache of one rank; heads that cannot be divided further are copied, and so is what has no heads."""
        return self.rank_in(self.dtype)

    def rank_in(self, dtype: CacheDtype) -> CacheLayout:
        """The cache of one rank in other bits."""
        return self.spec.shard(self.tensor_parallel).layout(dtype)

    def named_whole(self, dtype: str) -> CacheLayout:
        """The undivided cache in the dtype of that name. Raises UnknownName."""
        return self.spec.layout(cache_dtype(dtype))

    @cached_property
    def copies(self) -> Fraction:
        """How often all ranks together store each byte of the architecture: 1 where everything divides."""
        tokens = self.spec.max_context_tokens
        whole = self.whole.bytes_for(tokens)
        return Fraction(self.rank.bytes_for(tokens) * self.tensor_parallel, whole) if whole else Fraction(1)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """What one sequence takes on one rank of an engine. logical: what the architecture asks for there.

    why: a sentence per thing that is not the architecture's.
    """

    logical: int
    bytes: int
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity, read three ways. unit: "B", "tokens", "blocks", "cells" or "x". None: this reading has none.

    agrees: whether the profile gives the measured figure, to the digits printed. explained: the note tells why it does
    not. note: why readings differ.
    """

    quantity: str
    unit: str
    logical: Fraction | int | None
    profile: Fraction | int | None
    measured: Printed
    agrees: bool
    note: str = ""
    explained: bool = False

    @property
    def difference(self) -> Fraction | None:
        """Measured minus profile; 0 where rounding alone separates them, None where the profile says nothing."""
        if self.profile is None:
            return None
        return Fraction(0) if self.agrees else self.measured.value - self.profile


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one log, and remarks about the whole of it. error: how far off the worst row is, as a share."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Whether every row does."""
        return all(row.agrees for row in self.rows)

    @property
    def error(self) -> float:
        """The largest difference as a share of what was measured; infinite where a profile has no figure."""
        shares = [
            float("inf") if row.difference is None else abs(float(row.difference / (row.measured.value or 1)))
            for row in self.rows
        ]
        return max(shares, default=0.0)


class Profile(ABC, Generic[Log]):
    """One engine's way of allocating."""

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def sequence(self, subject: Subject, context_tokens: int) -> Allocation:
        """What one sequence of this length takes on one rank, with the engine's defaults."""

    @abstractmethod
    def read(self, subject: Subject, log: Log) -> Rows:
        """The log's figures beside the architecture's and the profile's."""


PROFILES: Registry[type[Profile[EngineLog]]] = Registry("engine profile", "windowtax.plan.profiles")


def ceil_div(number: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-number // by)


def padded(number: int, to: int) -> int:
    """The next multiple."""
    return ceil_div(number, to) * to


_PARTS = {
    "K": ("k", "latent", "kv"),
    "V": ("v",),
    "conv": ("conv",),
    "ssm": ("state",),
    "R": ("conv",),
    "S": ("state",),
}


def belongs(plane: Plane, part: str) -> bool:
    """Whether a plane is counted in what engines print as that part: K (latent rows too), V, the two kinds of states.

    Any other name means all planes.
    """
    return part not in _PARTS or plane.name.split("_")[0] in _PARTS[part]


def part_bytes(groups: Iterable[LayerGroup], part: str) -> int:
    """Bytes of one unit (row or state) in those planes, over the layers of these groups."""
    return sum(
        plane.unit_bytes * len(group.layers) for group in groups for plane in group.cache.planes if belongs(plane, part)
    )


def rows_of(layout: CacheLayout, window: bool | None = None) -> list[LayerGroup]:
    """The groups that keep rows of tokens; window: only those with (True) or without (False) a window or chunk."""
    kept = [group for group in layout.groups if not group.cache.is_state]
    return [group for group in kept if window is None or window is not group.cache.grows]


def states_of(layout: CacheLayout) -> list[LayerGroup]:
    """The groups that keep one state per sequence."""
    return [group for group in layout.groups if group.cache.is_state and not group.cache.workspace]


def refuse_strides(layout: CacheLayout, engine: str) -> None:
    """Raises UnsupportedModel for rows that stand for several tokens (DeepSeek-V4)."""
    if any(group.cache.stride > 1 for group in layout.groups):
        raise UnsupportedModel(f"How {engine} keeps rows that stand for several tokens is not known here.")


def first(found: Iterable[Rows]) -> Rows:
    """The first rows that agree; where none do, the ones that are least far off."""
    kept = list(found)
    return next((rows for rows in kept if rows.agrees), None) or min(kept, key=lambda rows: rows.error)
