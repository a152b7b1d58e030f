"""Checkpoints: folders of safetensors and GGUF files, read tensor by tensor into the dtype that is computed with."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.gguf_metadata import GgufHeader, GgufTensor
from windowtax.catalog.weight_names import Transform, WeightSource
from windowtax.engine.gguf_codes import code_format, read_codes
from windowtax.ops.native import WeightFormat
from windowtax.ops.packed import Codes, Rows
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec

_ROWS_AT_ONCE = 8192
"""Rows that are dequantised together: bounds the float32 copy that dequantisation makes on the way."""


class Checkpoint(ABC):
    """Tensors by the names that the checkpoint uses."""

    @abstractmethod
    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        """One tensor in that dtype. Raises BadInput where there is none of that name."""

    def codes(self, key: str) -> Codes | None:
        """One matrix in codes; None where the file keeps it in floats."""
        return None

    def code_format(self, key: str) -> WeightFormat | None:
        """The format of those codes, without reading them."""
        return None


class SafetensorsFolder(Checkpoint):
    """A folder with model.safetensors, or with model.safetensors.index.json and its shards."""

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
            with safe_open(single, framework="pt") as file:
                self._shard_of = dict.fromkeys(file.keys(), single)

    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        if key not in self._shard_of:
            raise BadInput(
                f"The checkpoint has no tensor called {key!r}.", "It may be incomplete or of another family."
            )
        with safe_open(self._shard_of[key], framework="pt") as file:
            stored: Tensor = file.get_tensor(key)
        if not stored.is_floating_point():
            raise UnsupportedModel(f"{key!r} is stored as {stored.dtype}; quantised safetensors are not read yet.")
        return stored.to(dtype)


class GgufFile(Checkpoint):
    """A GGUF file, dequantised by the gguf package."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header

    def codes(self, key: str) -> Codes | None:
        info = self._info(key)
        try:
            return None if len(info.shape) == 1 else read_codes(info.type, self._stored(info, 0, info.shape[0]))
        except (KeyError, NotImplementedError) as error:
            raise _unknown_type(info) from error

    def code_format(self, key: str) -> WeightFormat | None:
        info = self._info(key)
        return None if len(info.shape) == 1 else code_format(info.type)

    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        info = self._info(key)
        if len(info.shape) == 1:
            return self._rows(info, 0, 1, dtype).flatten()
        out = torch.empty(info.shape, dtype=dtype)
        starts = range(0, info.shape[0], _ROWS_AT_ONCE)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start, rows in zip(
                starts,
                pool.map(lambda s: self._rows(info, s, min(s + _ROWS_AT_ONCE, info.shape[0]), dtype), starts),
                strict=True,
            ):
                out[start : start + rows.shape[0]] = rows
        return out

    def _info(self, key: str) -> GgufTensor:
        info = self._header.tensors.get(key)
        if info is None:
            raise BadInput(f"{self._header.path} has no tensor called {key!r}.", "It may be of another family.")
        return info

    def _stored(self, info: GgufTensor, start: int, end: int) -> NDArray[np.uint8]:
        num_rows = 1 if len(info.shape) == 1 else info.shape[0]
        row_bytes = info.num_bytes // num_rows
        # Read, not mapped: mapped pages would count as this process's memory for as long as it lives.
        with open(self._header.path, "rb") as file:
            data = os.pread(file.fileno(), (end - start) * row_bytes, info.offset + start * row_bytes)
        if len(data) != (end - start) * row_bytes:
            raise BadInput(f"{self._header.path} ends in the middle of {info.name!r}.", "Fetch the file again.")
        return np.frombuffer(data, dtype=np.uint8).reshape(end - start, row_bytes)

    def _rows(self, info: GgufTensor, start: int, end: int, dtype: torch.dtype) -> Tensor:
        stored = self._stored(info, start, end)
        try:
            kind = gguf.GGMLQuantizationType[info.type.upper()]
            if kind is gguf.GGMLQuantizationType.F32:
                values = stored.view(np.float32)
            elif kind is gguf.GGMLQuantizationType.F16:
                values = stored.view(np.float16)
            else:
                values = gguf.quants.dequantize(np.ascontiguousarray(stored), kind)
        except (KeyError, NotImplementedError) as error:
            raise _unknown_type(info) from error
        return torch.from_numpy(np.array(values)).to(dtype)


def _unknown_type(info: GgufTensor) -> UnsupportedModel:
    return UnsupportedModel(
        f"{info.name!r} is stored as {info.type}, which the gguf package cannot dequantise.",
        "Convert the file to another type.",
    )


class ModelWeights:
    """Our weights, by our names, out of a checkpoint: cut out of fused tensors and transformed as the family says."""

    def __init__(
        self,
        spec: ModelSpec,
        sources: Mapping[str, WeightSource],
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._spec = spec
        self._sources = sources
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._device = device
        self._shapes = {weight.name: weight.shape for weight in spec.weights()}

    def take(self, name: str) -> Tensor:
        """The weight of that name. Raises BadInput where its shape is not the declared one."""
        source = self._sources[name]
        stored = self._checkpoint.tensor(source.key, self._dtype)
        if source.rows is not None:
            stored = stored[self._cut(name, source.rows, stored.shape[0])]
        self._check(name, tuple(stored.shape))
        if source.transform is Transform.UNPERMUTE_HEADS:
            stored = stored[self._unpermuted(name, stored.shape[0])].contiguous()
        elif source.transform is Transform.MINUS_ONE:
            stored = stored - 1
        return stored.to(self._device)

    def rows(self, name: str) -> Rows:
        """The same for a matrix, in codes where the file keeps it so."""
        source = self._sources[name]
        codes = None if source.transform is Transform.MINUS_ONE else self._checkpoint.codes(source.key)
        if codes is None:
            return self.take(name)
        if source.rows is not None:
            codes = codes.rows(self._cut(name, source.rows, codes.shape[0]).numpy())
        self._check(name, codes.shape)
        if source.transform is Transform.UNPERMUTE_HEADS:
            codes = codes.rows(self._unpermuted(name, codes.shape[0]).numpy())
        return codes

    def code_format(self, name: str) -> WeightFormat | None:
        """The format of the codes that `rows` gives; None where it gives floats."""
        source = self._sources[name]
        return None if source.transform is Transform.MINUS_ONE else self._checkpoint.code_format(source.key)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        if shape != tuple(self._shapes[name]):
            raise BadInput(
                f"{name} should be {list(self._shapes[name])} but {self._sources[name].key!r} gives {list(shape)}.",
                "The weights and the config do not belong together.",
            )

    def _cut(self, name: str, rows: tuple[int, int], num_rows: int) -> Tensor:
        """The rows of a fused tensor that are this weight: one run of them, or one in each head's part."""
        first, past = rows
        parts = self._shapes[name][0] // (past - first)
        return torch.arange(num_rows)[: num_rows // parts * parts].unflatten(0, (parts, -1))[:, first:past].flatten()

    def _unpermuted(self, name: str, num_rows: int) -> Tensor:
        """The order of rows that undoes the pairing of rotated numbers in some GGUF files."""
        attention = self._spec.layers[int(name.split(".")[1])].attention
        assert isinstance(attention, SoftmaxAttention)
        pairs = torch.arange(num_rows).unflatten(0, (-1, attention.head_dim // 2, 2))
        return pairs.transpose(1, 2).flatten()
