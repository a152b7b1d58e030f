"""Checkpoints: folders of safetensors and GGUF files, read some rows of a tensor at a time."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.gguf_metadata import GgufHeader, GgufTensor
from windowtax.catalog.weight_names import Transform, WeightSource
from windowtax.engine.gguf_codes import code_format, native_type, read_floats
from windowtax.ops.native import WeightFormat
from windowtax.ops.rows import Floats, Matrix, StoredRows
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec


class Checkpoint(ABC):
    """Tensors by the names that the checkpoint uses. Unknown names raise BadInput."""

    @abstractmethod
    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor."""

    @abstractmethod
    def floats(self, key: str, start: int, end: int) -> Floats:
        """Rows start ... end - 1 of a matrix, or so many numbers of a vector."""

    def code_format(self, key: str) -> WeightFormat | None:
        """The packed format of a matrix that the file keeps in codes; None where it keeps floats."""
        return None

    def stored(self, key: str) -> StoredRows | None:
        """Where the rows of a matrix lie, if native code can read them there."""
        return None


class SafetensorsFolder(Checkpoint):
    """A folder with model.safetensors, or with model.safetensors.index.json and its shards.

    torch reads them, as numpy has no bf16.
    """

    def __init__(self, folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            shards: dict[str, str] = json.loads(index.read_text())["weight_map"]
            self._shard_of = {key: folder / shard for key, shard in shards.items()}
        else:
            single = folder / "model.safetensors"
            if not single.is_file():
                raise BadInput(
                    f"{folder} has neither model.safetensors nor model.safetensors.index.json.",
                    "Give a folder with safetensors weights, or a .gguf file.",
                )
            with _open(single) as file:
                self._shard_of = dict.fromkeys(file.keys(), single)

    def shape(self, key: str) -> tuple[int, ...]:
        with _open(self._shard(key)) as file:
            return tuple(file.get_slice(key).get_shape())

    def floats(self, key: str, start: int, end: int) -> Floats:
        with _open(self._shard(key)) as file:
            stored = file.get_slice(key)[start:end]
        if not stored.is_floating_point():
            raise UnsupportedModel(f"{key!r} is stored as {stored.dtype}; quantised safetensors are not read yet.")
        return stored.float().numpy()

    def _shard(self, key: str) -> Path:
        if key not in self._shard_of:
            raise BadInput(
                f"The checkpoint has no tensor called {key!r}.", "It may be incomplete or of another family."
            )
        return self._shard_of[key]


def _open(file: Path):
    from safetensors import safe_open

    return safe_open(file, framework="pt")


class GgufFile(Checkpoint):
    """A GGUF file."""

    def __init__(self, header: GgufHeader) -> None:
        self.header = header

    def shape(self, key: str) -> tuple[int, ...]:
        return self._info(key).shape

    def code_format(self, key: str) -> WeightFormat | None:
        info = self._info(key)
        return None if len(info.shape) == 1 else code_format(info.type)

    def stored(self, key: str) -> StoredRows | None:
        info = self._info(key)
        number = native_type(info.type)
        if number is None or len(info.shape) == 1:
            return None
        rows = info.shape[0]
        places = info.offset + np.arange(rows, dtype=np.int64) * (info.num_bytes // rows)
        return StoredRows(self.header.path, places, np.full(rows, number, dtype=np.uint8))

    def floats(self, key: str, start: int, end: int) -> Floats:
        info = self._info(key)
        try:
            if len(info.shape) == 1:
                return read_floats(info.type, self._bytes(info, 0, 1))[0, start:end]
            return read_floats(info.type, self._bytes(info, start, end))
        except (KeyError, NotImplementedError) as error:
            raise _unknown_type(info) from error

    def _info(self, key: str) -> GgufTensor:
        info = self.header.tensors.get(key)
        if info is None:
            raise BadInput(f"{self.header.path} has no tensor called {key!r}.", "It may be of another family.")
        return info

    def _bytes(self, info: GgufTensor, start: int, end: int) -> NDArray[np.uint8]:
        num_rows = 1 if len(info.shape) == 1 else info.shape[0]
        row_bytes = info.num_bytes // num_rows
        # Read, not mapped: mapped pages would count as this process's memory for as long as it lives.
        with open(self.header.path, "rb") as file:
            data = os.pread(file.fileno(), (end - start) * row_bytes, info.offset + start * row_bytes)
        if len(data) != (end - start) * row_bytes:
            raise BadInput(f"{self.header.path} ends in the middle of {info.name!r}.", "Fetch the file again.")
        return np.frombuffer(data, dtype=np.uint8).reshape(end - start, row_bytes)


def _unknown_type(info: GgufTensor) -> UnsupportedModel:
    return UnsupportedModel(
        f"{info.name!r} is stored as {info.type}, which the gguf package cannot dequantise.",
        "Convert the file to another type.",
    )


class ModelWeights:
    """Our weights, by our names, out of a checkpoint: cut out of fused tensors and transformed as the family says.

    dtype: fp32, bf16 or fp16. Floats are rounded to it, whoever computes, so that all compute with the same weights.
    """

    def __init__(
        self, spec: ModelSpec, sources: Mapping[str, WeightSource], checkpoint: Checkpoint, dtype: str
    ) -> None:
        self._spec = spec
        self._dtype = dtype
        self._sources = sources
        self._checkpoint = checkpoint
        self._shapes = {weight.name: weight.shape for weight in spec.weights()}

    def vector(self, name: str) -> Floats:
        """A weight of one dimension. Raises BadInput where its length is not the declared one."""
        return self.floats(name, 0, self.shape(name)[0])

    def matrix(self, name: str) -> Matrix:
        """A matrix, in codes where the file keeps it so. Raises BadInput where its shape is not the declared one."""
        rows, columns = self.shape(name)
        if self.code_format(name) is None:
            return Matrix((rows, columns), partial(self.floats, name))
        stored = self._checkpoint.stored(self._sources[name].key)
        return Matrix((rows, columns), partial(self._read, name), stored and stored.taken(self._index(name, 0, rows)))

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape, which is the declared one. Raises BadInput where the checkpoint has another."""
        source = self._sources[name]
        stored = self._checkpoint.shape(source.key)
        if source.rows is not None:
            first, past = source.rows
            parts = self._parts(name)
            stored = (parts * max(0, min(past, stored[0] // parts) - first), *stored[1:])
        if stored != tuple(self._shapes[name]):
            raise BadInput(
                f"{name} should be {list(self._shapes[name])} but {source.key!r} gives {list(stored)}.",
                "The weights and the config do not belong together.",
            )
        return stored

    def floats(self, name: str, start: int, end: int) -> Floats:
        """Rows start ... end - 1 of a weight, rounded."""
        rows = self._read(name, start, end)
        minus_one = self._sources[name].transform is Transform.MINUS_ONE
        return _rounded(rows - np.float32(1) if minus_one else rows, self._dtype)

    def code_format(self, name: str) -> WeightFormat | None:
        """The packed format of a matrix that the file keeps in codes; None where `matrix` gives floats."""
        source = self._sources[name]
        return None if source.transform is Transform.MINUS_ONE else self._checkpoint.code_format(source.key)

    def _read(self, name: str, start: int, end: int) -> Floats:
        """Rows of a weight out of those of the stored tensor, in our order, as the file says them."""
        index = self._index(name, start, end)
        first, last = int(index.min()), int(index.max()) + 1
        rows = self._checkpoint.floats(self._sources[name].key, first, last)
        in_order = last - first == len(index) and bool((np.diff(index) == 1).all())
        return rows if in_order else np.ascontiguousarray(rows[index - first])

    def _index(self, name: str, start: int, end: int) -> NDArray[np.int64]:
        """Where rows start ... end - 1 of a weight are in the stored tensor."""
        source = self._sources[name]
        if self._parts(name) > 1:
            return self._cut(name, start, end)
        index = np.arange(start, end, dtype=np.int64)
        if source.transform is Transform.UNPERMUTE_HEADS:
            attention = self._spec.layers[int(name.split(".")[1])].attention
            assert isinstance(attention, SoftmaxAttention)
            head, row = np.divmod(index, attention.head_dim)
            half, pair = np.divmod(row, attention.head_dim // 2)
            index = head * attention.head_dim + 2 * pair + half
        return index + (0 if source.rows is None else source.rows[0])

    def _parts(self, name: str) -> int:
        """Of how many runs of rows a weight is cut out of a fused tensor: one, or one in each head's part."""
        rows = self._sources[name].rows
        return 1 if rows is None else self._shapes[name][0] // (rows[1] - rows[0])

    def _cut(self, name: str, start: int, end: int) -> NDArray[np.int64]:
        """Where rows start ... end - 1 of such a weight are in the stored tensor."""
        source = self._sources[name]
        assert source.rows is not None
        first, past = source.rows
        per_part = self._checkpoint.shape(source.key)[0] // self._parts(name)
        part, row = np.divmod(np.arange(start, end), past - first)
        return part * per_part + first + row


def _rounded(values: Floats, dtype: str) -> Floats:
    """The nearest numbers of that type, of two the even one."""
    if dtype == "fp32":
        return values
    if dtype == "fp16":
        return values.astype(np.float16).astype(np.float32)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000).view(np.float32)
