"""The header of a GGUF file: metadata and tensor infos, read without the token lists and without the tensor data.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian). The arrays of a
tokenizer hold some 10^5 entries; they are stepped over, and read only when somebody asks for them.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from windowtax.base.errors import BadInput

_DEFAULT_ALIGNMENT = 32
_FLOAT32, _STRING, _ARRAY = 6, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LENGTH = struct.Struct("<Q")

GGML_TYPES = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    9: ("q8_1", 32, 40),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    15: ("q8_k", 256, 292),
    16: ("iq2_xxs", 256, 66),
    17: ("iq2_xs", 256, 74),
    18: ("iq3_xxs", 256, 98),
    19: ("iq1_s", 256, 50),
    20: ("iq4_nl", 32, 18),
    21: ("iq3_s", 256, 110),
    22: ("iq2_s", 256, 82),
    23: ("iq4_xs", 256, 136),
    24: ("i8", 1, 1),
    25: ("i16", 1, 2),
    26: ("i32", 1, 4),
    27: ("i64", 1, 8),
    28: ("f64", 1, 8),
    29: ("iq1_m", 256, 56),
    30: ("bf16", 1, 2),
    34: ("tq1_0", 256, 54),
    35: ("tq2_0", 256, 66),
    39: ("mxfp4", 32, 17),
    40: ("nvfp4", 64, 36),
    41: ("q1_0", 128, 18),
}
"""GGML type number -> name, numbers per block, bytes per block (ggml.h and ggml-common.h; tested against `gguf`)."""


@dataclass(frozen=True, slots=True)
class GgufArray:
    """An array of the metadata that was stepped over.

    element: its GGUF value type. offset: of its first entry in the file. num_bytes: of all entries.
    """

    path: Path
    element: int
    count: int
    offset: int
    num_bytes: int

    def read(self) -> list[Any]:
        """The entries, read from the file now."""
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data, self.path, self.offset)
            return [cursor.value(self.element) for _ in range(self.count)]


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor. shape: as torch counts, [out, in] for a matrix. type: GGML's, in lower case. offset: in the file."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    num_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the tensor data. metadata: scalars and strings as they are, arrays as GgufArray."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """`general.architecture`. Raises BadInput where it is missing."""
        found = self.metadata.get("general.architecture")
        if not isinstance(found, str):
            raise BadInput(f"{self.path}: the GGUF metadata names no general.architecture.")
        return found

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, in the types the file holds them."""
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    def array(self, key: str) -> list[Any]:
        """The entries of an array of the metadata. Raises BadInput where there is none of that name."""
        value = self.metadata.get(key)
        if not isinstance(value, GgufArray):
            raise BadInput(f"{self.path}: the GGUF metadata has no array {key!r}.")
        return value.read()

    def floats(self, name: str) -> tuple[float, ...]:
        """The numbers of a small f32 tensor, such as RoPE factors. Raises BadInput for another type."""
        tensor = self.tensors[name]
        if tensor.type != "f32":
            raise BadInput(f"{self.path}: the tensor {name!r} is of type {tensor.type}, but f32 was expected.")
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            return struct.unpack(f"<{math.prod(tensor.shape)}f", file.read(tensor.num_bytes))


def read_gguf_header(path: Path) -> GgufHeader:
    """Reads the header of a GGUF file. Raises BadInput for another format, an unknown version or a cut file."""
    size = path.stat().st_size
    if size < 24:
        raise BadInput(f"{path} holds {size} bytes; that is too short for a GGUF file.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data, path, 4)
        if data[:4] != b"GGUF":
            raise BadInput(f"{path} is not a GGUF file: it starts with {data[:4]!r} instead of b'GGUF'.")
        version = cursor.value(4)
        if version not in (2, 3):
            raise BadInput(
                f"{path} is GGUF version {version}; versions 2 and 3, little-endian, are read.",
                "Convert the file with a current llama.cpp.",
            )
        num_tensors, num_entries = cursor.value(10), cursor.value(10)
        metadata = {cursor.string(): cursor.metadata_value() for _ in range(num_entries)}
        infos = [cursor.tensor_info() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        start = -(-cursor.offset // alignment) * alignment
    tensors = {name: _tensor(path, name, shape, number, start + offset) for name, shape, number, offset in infos}
    end = max((tensor.offset + tensor.num_bytes for tensor in tensors.values()), default=start)
    if end > size:
        raise BadInput(
            f"{path} is cut off: its tensors end at byte {end:,}, but the file has {size:,}.", "Fetch it again."
        )
    return GgufHeader(path, metadata, tensors)


def _tensor(path: Path, name: str, shape: tuple[int, ...], number: int, offset: int) -> GgufTensor:
    if number not in GGML_TYPES:
        raise BadInput(f"{path}: the tensor {name!r} is of GGML type {number}, which this version does not know.")
    type_name, block, block_bytes = GGML_TYPES[number]
    return GgufTensor(name, shape, type_name, offset, math.prod(shape) // block * block_bytes)


def _shortest(value: float) -> float:
    """The shortest decimal that rounds to this float32, so that 1e-05 is not read as 9.999999747378752e-06."""
    if not math.isfinite(value):
        return value
    written = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next(number for number in written if struct.pack("<f", number) == struct.pack("<f", value))


class _Cursor:
    """Reads values one after another. Every step past the end of the file is a BadInput."""

    def __init__(self, data: mmap.mmap, path: Path, offset: int) -> None:
        self._data = data
        self._path = path
        self.offset = offset

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind not in _SCALARS:
            raise BadInput(f"{self._path}: the GGUF metadata holds a value of unknown type {kind}.")
        layout = "<" + _SCALARS[kind]
        start = self._step(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)[0]

    def string(self) -> str:
        length = self.value(10)
        start = self._step(length)
        return self._data[start : start + length].decode("utf-8", "replace")

    def metadata_value(self) -> Any:
        kind = self.value(4)
        if kind == _ARRAY:
            return self._array()
        value = self.value(kind)
        return _shortest(value) if kind == _FLOAT32 else value

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        sizes = [self.value(10) for _ in range(self.value(4))]
        return name, tuple(reversed(sizes)), self.value(4), self.value(10)

    def _array(self) -> GgufArray:
        element, count = self.value(4), self.value(10)
        start = self.offset
        if element == _STRING:
            self._skip_strings(count)
        elif element in _SCALARS:
            self._step(count * struct.calcsize("<" + _SCALARS[element]))
        else:
            raise BadInput(f"{self._path}: the GGUF metadata holds an array of unknown type {element}.")
        return GgufArray(self._path, element, count, start, self.offset - start)

    def _skip_strings(self, count: int) -> None:
        # A tokenizer has some 10^5 of them, so this loop is kept bare; it is most of the time a header takes.
        unpack, data, offset = _LENGTH.unpack_from, self._data, self.offset
        try:
            for _ in range(count):
                offset += 8 + unpack(data, offset)[0]
        except struct.error:
            offset = len(data) + 1
        self._step(offset - self.offset)

    def _step(self, num_bytes: int) -> int:
        start = self.offset
        if start + num_bytes > len(self._data):
            raise BadInput(f"{self._path} is cut off inside its GGUF header.", "Fetch the file again.")
        self.offset = start + num_bytes
        return start
