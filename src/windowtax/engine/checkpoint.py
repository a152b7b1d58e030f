"""Checkpoints: folders of safetensors and GGUF files, read tensor by tensor into the dtype that is computed with."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.gguf_metadata import GgufHeader, GgufTensor
from windowtax.catalog.weight_names import Transform, WeightSource
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec

_ROWS_AT_ONCE = 8192
"""Rows that are dequantised together: bounds the float32 copy that dequantisation makes on the way."""


class Checkpoint(ABC):
    """Tensors by the names that the checkpoint uses."""

    @abstractmethod
    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        """One tensor in that dtype. Raises BadInput where there is none of that name."""


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
        self._bytes = np.memmap(header.path, mode="r", dtype=np.uint8)

    def tensor(self, key: str, dtype: torch.dtype) -> Tensor:
        info = self._header.tensors.get(key)
        if info is None:
            raise BadInput(f"{self._header.path} has no tensor called {key!r}.", "It may be of another family.")
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

    def _rows(self, info: GgufTensor, start: int, end: int, dtype: torch.dtype) -> Tensor:
        num_rows = 1 if len(info.shape) == 1 else info.shape[0]
        row_bytes = info.num_bytes // num_rows
        first = info.offset + start * row_bytes
        stored = self._bytes[first : first + (end - start) * row_bytes].reshape(end - start, row_bytes)
        try:
            kind = gguf.GGMLQuantizationType[info.type.upper()]
            if kind is gguf.GGMLQuantizationType.F32:
                values = stored.view(np.float32)
            elif kind is gguf.GGMLQuantizationType.F16:
                values = stored.view(np.float16)
            else:
                values = gguf.quants.dequantize(np.ascontiguousarray(stored), kind)
        except (KeyError, NotImplementedError) as error:
            raise UnsupportedModel(
                f"{info.name!r} is stored as {info.type}, which the gguf package cannot dequantise.",
                "Convert the file to another type.",
            ) from error
        return torch.from_numpy(np.array(values)).to(dtype)


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
            stored = stored[source.rows[0] : source.rows[1]].clone()
        if tuple(stored.shape) != self._shapes[name]:
            raise BadInput(
                f"{name} should be {list(self._shapes[name])} but {source.key!r} gives {list(stored.shape)}.",
                "The weights and the config do not belong together.",
            )
        return self._transformed(name, stored, source.transform).to(self._device)

    def _transformed(self, name: str, stored: Tensor, transform: Transform) -> Tensor:
        if transform is Transform.UNPERMUTE_HEADS:
            attention = self._spec.layers[int(name.split(".")[1])].attention
            assert isinstance(attention, SoftmaxAttention)
            pairs = stored.unflatten(0, (-1, attention.head_dim // 2, 2))
            return pairs.transpose(1, 2).flatten(0, 2).contiguous()
        if transform is Transform.MINUS_ONE:
            return stored - 1
        return stored
