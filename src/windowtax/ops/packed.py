"""Weight matrices in the arrangement that the native kernels read (native/src/kernels.h, Matrix)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.pages import prefer_huge_pages

PANEL_ROWS = 16
"""Rows of a matrix that lie together."""
GROUP = 32
"""Columns that share a scale."""
_ROWS_AT_ONCE = 2048
"""Rows that are widened to float32 together: bounds the copy that packing makes on the way."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A matrix [rows, columns] in small integers, as a file has it.

    codes int8 [rows, columns]; scale, and least where there is one, float32 [rows, columns / 32]:
    w = scale * code (+ least). With a least the codes are 0 ... 15, without -127 ... 127.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    least: NDArray[np.float32] | None

    @property
    def format(self) -> WeightFormat:
        """The packed format that takes these codes as they are."""
        return WeightFormat.Q8 if self.least is None else WeightFormat.Q4

    @property
    def shape(self) -> tuple[int, int]:
        """[rows, columns]."""
        return self.codes.shape[0], self.codes.shape[1]

    def rows(self, index: slice | NDArray[np.int64]) -> "Codes":
        """The same for some of its rows, in that order."""
        least = None if self.least is None else np.ascontiguousarray(self.least[index])
        return Codes(np.ascontiguousarray(self.codes[index]), np.ascontiguousarray(self.scale[index]), least)

    def dequantised(self) -> Tensor:
        """The matrix in float32."""
        grouped = self.codes.reshape(self.codes.shape[0], -1, GROUP).astype(np.float32)
        wide = grouped * self.scale[..., None]
        if self.least is not None:
            wide += self.least[..., None]
        return torch.from_numpy(wide.reshape(self.codes.shape))


Rows = Codes | Tensor
"""Rows of a matrix, quantised or not."""


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A packed matrix. data: uint8, aligned to cache lines; it must live as long as a program reads it."""

    format: WeightFormat
    rows: int
    columns: int
    data: NDArray[np.uint8]

    def unpacked(self) -> Tensor:
        """The matrix in float32, as the kernels read it."""
        out = np.empty((self.rows, self.columns), dtype=np.float32)
        _module().unpack(int(self.format), self.data, out)
        return torch.from_numpy(out)


def packed_bytes(format: WeightFormat, rows: int, columns: int) -> int:
    """Bytes of a packed matrix."""
    return _module().packed_bytes(int(format), rows, columns)


def padded_rows(rows: int) -> int:
    """Rows of a matrix whose last panel is filled up with zeros."""
    return -(-rows // PANEL_ROWS) * PANEL_ROWS


class Arena:
    """Room for the matrices of a model, one behind the other in the order in which they are asked for.

    Alone, those of small models are smaller than a large page. num_bytes: of all matrices together, as `packed_bytes`
    says.
    """

    def __init__(self, num_bytes: int) -> None:
        self._data = _aligned(num_bytes)
        self._used = 0

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """The next so many bytes; multiples of a cache line, as packed matrices are."""
        start, self._used = self._used, self._used + num_bytes
        return self._data[start : self._used]


def pack(parts: Sequence[Rows], format: WeightFormat, num_threads: int, arena: Arena | None = None) -> PackedMatrix:
    """The parts' rows one after the other. Codes of another format are dequantised first.

    arena: where there is room for it; None: in room of its own.
    """
    module = _module()
    rows, columns = sum(part.shape[0] for part in parts), parts[0].shape[1]
    num_bytes = module.packed_bytes(int(format), rows, columns)
    data = _aligned(num_bytes) if arena is None else arena.take(num_bytes)
    panel_bytes = module.packed_bytes(int(format), PANEL_ROWS, columns)

    def work(piece: tuple[int, Rows]) -> None:
        start, values = piece
        end = start + values.shape[0]
        out = data[start // PANEL_ROWS * panel_bytes : -(-end // PANEL_ROWS) * panel_bytes]
        if isinstance(values, Codes) and values.format is format:
            module.pack_codes(int(format), values.codes, values.scale, values.least, out)
        else:
            wide = values.dequantised() if isinstance(values, Codes) else values.float()
            module.pack(int(format), wide.contiguous().numpy(), out)

    with ThreadPoolExecutor(num_threads) as pool:
        for _ in pool.map(work, _pieces(parts)):
            pass
    return PackedMatrix(format, rows, columns, data)


def interleaved(gate: Rows, up: Rows) -> list[Rows]:
    """Panels of gate and up in turn, the last of each padded with zero rows: what a gated product reads."""
    parts: list[Rows] = []
    for start in range(0, gate.shape[0], PANEL_ROWS):
        for matrix in (gate, up):
            parts.append(_padded(_sliced(matrix, slice(start, start + PANEL_ROWS))))
    return parts


def _pieces(parts: Sequence[Rows]) -> Iterator[tuple[int, Rows]]:
    """Runs of rows that begin at whole panels: (first row, rows)."""
    joined = _joined(parts)
    total = sum(part.shape[0] for part in parts)
    for start in range(0, total, _ROWS_AT_ONCE):
        yield start, joined(slice(start, min(start + _ROWS_AT_ONCE, total)))


def _joined(parts: Sequence[Rows]) -> Callable[[slice], Rows]:
    if len(parts) == 1:
        return lambda rows: _sliced(parts[0], rows)
    whole = _concatenated(parts)
    return lambda rows: _sliced(whole, rows)


def _concatenated(parts: Sequence[Rows]) -> Rows:
    codes = [part for part in parts if isinstance(part, Codes)]
    if len(codes) == len(parts) and len({part.format for part in codes}) == 1:
        leasts = [part.least for part in codes if part.least is not None]
        return Codes(
            np.concatenate([part.codes for part in codes]),
            np.concatenate([part.scale for part in codes]),
            np.concatenate(leasts) if leasts else None,
        )
    return torch.cat([part.dequantised() if isinstance(part, Codes) else part for part in parts])


def _sliced(matrix: Rows, rows: slice) -> Rows:
    return matrix.rows(rows) if isinstance(matrix, Codes) else matrix[rows]


def _padded(matrix: Rows) -> Rows:
    missing = PANEL_ROWS - matrix.shape[0]
    if missing == 0:
        return matrix
    if isinstance(matrix, Tensor):
        return torch.cat([matrix, matrix.new_zeros(missing, matrix.shape[1])])
    pad = ((0, missing), (0, 0))
    least = None if matrix.least is None else np.pad(matrix.least, pad)
    return Codes(np.pad(matrix.codes, pad), np.pad(matrix.scale, pad), least)


def _aligned(num_bytes: int) -> NDArray[np.uint8]:
    raw = np.empty(num_bytes + 64, dtype=np.uint8)
    prefer_huge_pages(raw.ctypes.data, raw.nbytes)
    start = -raw.ctypes.data % 64
    return raw[start : start + num_bytes]


def _module():
    module = native_state().module
    assert module is not None
    return module
