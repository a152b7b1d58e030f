"""Matrices that are read when they are needed: by native code from a file, or by rows as floats or codes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from windowtax.ops.native import WeightFormat

PANEL_ROWS = 16
"""Rows of a packed matrix that lie together (native/src/kernels.h)."""
GROUP = 32
"""Columns that share a scale."""

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Codes:
    """Rows in small integers, as a file has them.

    format: the packed one that takes them as they are. codes int8 [rows, columns], in its range
    (native/src/kernels.h); scale, and least where it has one, float32 [rows, columns / 32]: w = scale * code (+ least).
    """

    format: WeightFormat
    codes: NDArray[np.int8]
    scale: Floats
    least: Floats | None

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns]."""
        return self.codes.shape[0], self.codes.shape[1]

    def dequantised(self) -> Floats:
        """The rows in float32."""
        grouped = self.codes.reshape(self.codes.shape[0], -1, GROUP).astype(np.float32)
        wide = grouped * self.scale[..., None]
        if self.least is not None:
            wide += self.least[..., None]
        return wide.reshape(self.codes.shape)


Rows: TypeAlias = Codes | Floats
"""Rows of a matrix, quantised or not."""


_ZEROS = -1
"""The place of a row that no file has."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Where the rows of a matrix lie in a GGUF file, which native code reads by itself.

    places int64 [rows]: the byte at which a row's blocks begin, negative for a row of zeros. types uint8 [rows]: what
    blocks they are, as the native module numbers its types.
    """

    path: Path
    places: NDArray[np.int64]
    types: NDArray[np.uint8]

    def taken(self, index: NDArray[np.int64]) -> "StoredRows":
        """Some of the rows, in that order."""
        return StoredRows(self.path, self.places[index], self.types[index])

    def padded(self) -> "StoredRows":
        """The last panel filled up with rows of zeros."""
        missing = padded_rows(len(self.places)) - len(self.places)
        places = np.pad(self.places, (0, missing), constant_values=_ZEROS)
        return StoredRows(self.path, places, np.pad(self.types, (0, missing), mode="edge"))


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix that is read when it is needed. read(start, end): those rows, from any thread. stored: None where
    native code cannot read them by itself."""

    shape: tuple[int, int]
    read: Callable[[int, int], Rows]
    stored: StoredRows | None = None


def joined(parts: Sequence[Matrix]) -> Matrix:
    """The parts' rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([part.shape[0] for part in parts]).tolist()

    def read(start: int, end: int) -> Rows:
        found: list[Rows] = []
        for part, last in zip(parts, ends, strict=True):
            first = last - part.shape[0]
            if start < last and first < end:
                found.append(part.read(max(start, first) - first, min(end, last) - first))
        return _mapped(np.concatenate, *found)

    return Matrix((ends[-1], parts[0].shape[1]), read, _stored(np.concatenate, parts))


def interleaved(gate: Matrix, up: Matrix) -> Matrix:
    """Panels of gate and up in turn, the last of each padded with zero rows: what a gated product reads.

    It is read by whole pairs of panels.
    """
    rows, columns = gate.shape

    def read(start: int, end: int) -> Rows:
        begin, stop = start // 2, min(end // 2, rows)
        padded = [_mapped(lambda part: _padded(part, end // 2 - begin), half.read(begin, stop)) for half in (gate, up)]
        return _mapped(_in_turn, *padded)

    halves = [Matrix(half.shape, half.read, half.stored and half.stored.padded()) for half in (gate, up)]
    return Matrix((2 * padded_rows(rows), columns), read, _stored(_panels_in_turn, halves))


def matrix_of(values: Floats) -> Matrix:
    """Floats [rows, columns] that are in memory already."""
    return Matrix((values.shape[0], values.shape[1]), lambda start, end: values[start:end])


def padded_rows(rows: int) -> int:
    """Rows of a matrix whose last panel is filled up with zeros."""
    return -(-rows // PANEL_ROWS) * PANEL_ROWS


def _stored(change: Callable[[Sequence[NDArray]], NDArray], parts: Sequence[Matrix]) -> StoredRows | None:
    """The places and types of all these rows changed together; None where they are not all in one file."""
    found = [part.stored for part in parts if part.stored is not None]
    if len(found) < len(parts) or len({one.path for one in found}) > 1:
        return None
    return StoredRows(found[0].path, change([one.places for one in found]), change([one.types for one in found]))


def _mapped(change: Callable[[Sequence[NDArray]], NDArray], *rows: Rows) -> Rows:
    """The arrays of all these rows changed together: codes with codes, scales with scales, or floats."""
    codes = [one for one in rows if isinstance(one, Codes)]
    if len(codes) < len(rows) or len({one.format for one in codes}) > 1:
        return change([one.dequantised() if isinstance(one, Codes) else one for one in rows])
    leasts = [one.least for one in codes if one.least is not None]
    scale, least = change([one.scale for one in codes]), change(leasts) if leasts else None
    return Codes(codes[0].format, change([one.codes for one in codes]), scale, least)


def _padded(parts: Sequence[NDArray], rows: int) -> NDArray:
    missing = rows - parts[0].shape[0]
    return np.pad(parts[0], ((0, missing), (0, 0))) if missing else parts[0]


def _in_turn(parts: Sequence[NDArray]) -> NDArray:
    panels = [part.reshape(-1, PANEL_ROWS, part.shape[1]) for part in parts]
    return np.stack(panels, axis=1).reshape(-1, parts[0].shape[1])


def _panels_in_turn(parts: Sequence[NDArray]) -> NDArray:
    return _in_turn([part[:, None] for part in parts]).ravel()
