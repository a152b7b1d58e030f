"""Weight matrices in the arrangement that the native kernels read (native/src/kernels.h, Matrix)."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from windowtax.base.errors import BadInput
from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.pages import aligned_bytes
from windowtax.ops.rows import PANEL_ROWS, Codes, Floats, Matrix, StoredRows

_Job: TypeAlias = tuple[int, int, NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]
"""Format, columns, places, types, where it goes."""

_NUMBERS_AT_ONCE = 1 << 19
"""Numbers that one thread reads and packs together: what is made on the way stays in its cache."""


class _Reader(Protocol):
    """The native module's StoredReader."""

    def wait(self) -> None: ...
    def stop(self) -> None: ...


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
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, "windowtax-packer")
        self._pieces: list[Future[None]] = []
        self._stored: dict[Path, list[_Job]] = {}
        self._readers: dict[Path, _Reader] = {}

    def __enter__(self) -> "Packer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.start()
                self._wait()
        finally:
            for reader in self._readers.values():
                reader.stop()
            self._pool.shutdown(cancel_futures=True)

    def pack(self, matrix: Matrix, format: WeightFormat) -> PackedMatrix:
        """The matrix, to be filled."""
        rows, columns = matrix.shape
        packed = PackedMatrix(format, rows, columns, self._arena.take(packed_bytes(format, rows, columns)))
        if matrix.stored is None:
            self._submit(matrix, packed)
        else:
            self._stored.setdefault(matrix.stored.path, []).append(_job(matrix.stored, packed))
        return packed

    def start(self) -> None:
        """Begins to read, in threads that do not need Python's lock, what was asked for and lies in files as it is.
        Leaving the `with` does the same."""
        for path, jobs in self._stored.items():
            with _reading(path):
                self._readers[path] = _module().StoredReader(str(path), jobs, self._num_threads)
        self._stored.clear()

    def _wait(self) -> None:
        for path, reader in self._readers.items():
            with _reading(path):
                reader.wait()
        for piece in self._pieces:
            piece.result()

    def _submit(self, matrix: Matrix, packed: PackedMatrix) -> None:
        """To the pool, piece by piece."""
        rows, columns = matrix.shape
        panel_bytes = packed_bytes(packed.format, PANEL_ROWS, columns)
        pair = 2 * PANEL_ROWS
        step = max(1, _NUMBERS_AT_ONCE // columns // pair) * pair
        for start in range(0, rows, step):
            end = min(start + step, rows)
            out = packed.data[start // PANEL_ROWS * panel_bytes : -(-end // PANEL_ROWS) * panel_bytes]
            self._pieces.append(self._pool.submit(_pack, matrix, start, end, packed.format, out))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise BadInput(f"The weights in {path} cannot be read: {error}.", "Fetch the file again.") from error


def _job(stored: StoredRows, packed: PackedMatrix) -> _Job:
    return int(packed.format), packed.columns, stored.places, stored.types, packed.data


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
