"""Weight matrices in the arrangement that the native kernels read (native/src/kernels.h, Matrix)."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.pages import aligned_bytes
from windowtax.ops.rows import PANEL_ROWS, Codes, Floats, Matrix

_NUMBERS_AT_ONCE = 1 << 19
"""Numbers that one thread reads and packs together: what is made on the way stays in its cache."""


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A packed matrix. data: uint8, aligned to cache lines; it must live as long as a program reads it."""

    format: WeightFormat
    rows: int
    columns: int
    data: NDArray[np.uint8]

    def unpacked(self) -> Floats:
        """The matrix in float32, as the kernels read it."""
        out = np.empty((self.rows, self.columns), dtype=np.float32)
        _module().unpack(int(self.format), self.data, out)
        return out


def packed_bytes(format: WeightFormat, rows: int, columns: int) -> int:
    """Bytes of a packed matrix."""
    return _module().packed_bytes(int(format), rows, columns)


class Arena:
    """Room for the matrices of a model, one behind the other in the order in which they are asked for.

    Alone, those of small models are smaller than a large page. num_bytes: of all matrices together, as `packed_bytes`
    says.
    """

    def __init__(self, num_bytes: int) -> None:
        self._data = aligned_bytes(num_bytes)
        self._used = 0

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """The next so many bytes; multiples of a cache line, as packed matrices are."""
        start, self._used = self._used, self._used + num_bytes
        return self._data[start : self._used]


class Packer:
    """Threads that read and pack matrices; their bytes are complete when the `with` ends. arena: where they go.

    An error of reading is raised there. Codes of another format than the wanted one are dequantised first.
    """

    def __init__(self, num_threads: int, arena: Arena) -> None:
        self._arena = arena
        self._pool = ThreadPoolExecutor(num_threads, "windowtax-packer")
        self._pieces: list[Future[None]] = []

    def __enter__(self) -> "Packer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for piece in self._pieces:
                    piece.result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def pack(self, matrix: Matrix, format: WeightFormat) -> PackedMatrix:
        """The matrix, to be filled."""
        rows, columns = matrix.shape
        data = self._arena.take(packed_bytes(format, rows, columns))
        panel_bytes = packed_bytes(format, PANEL_ROWS, columns)
        pair = 2 * PANEL_ROWS
        step = max(1, _NUMBERS_AT_ONCE // columns // pair) * pair
        for start in range(0, rows, step):
            end = min(start + step, rows)
            out = data[start // PANEL_ROWS * panel_bytes : -(-end // PANEL_ROWS) * panel_bytes]
            self._pieces.append(self._pool.submit(_pack, matrix, start, end, format, out))
        return PackedMatrix(format, rows, columns, data)


def _pack(matrix: Matrix, start: int, end: int, format: WeightFormat, out: NDArray[np.uint8]) -> None:
    values = matrix.read(start, end)
    if isinstance(values, Codes) and values.format is format:
        _module().pack_codes(int(format), values.codes, values.scale, values.least, out)
    else:
        wide = values.dequantised() if isinstance(values, Codes) else values
        _module().pack(int(format), np.ascontiguousarray(wide), out)


def _module():
    module = native_state().module
    assert module is not None
    return module
