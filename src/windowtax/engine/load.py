"""From a path to a model that can run: spec, weights, tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.family import Family
from windowtax.catalog.read import config_family, gguf_family, read_config, read_gguf_file, read_json
from windowtax.catalog.weight_names import WeightSource
from windowtax.engine.checkpoint import Checkpoint, GgufFile, ModelWeights, SafetensorsFolder
from windowtax.engine.tokenizer import Tokenizer, load_tokenizer
from windowtax.nn.decoder import Decoder
from windowtax.ops.dtypes import TORCH_DTYPES
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_rope


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. tokenizer: None where the folder holds none (tests run on token ids)."""

    spec: ModelSpec
    decoder: Decoder
    tokenizer: Tokenizer | None
    dtype: str
    device: torch.device

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they are computed with, from the declared shapes."""
        return weight_bytes(self.spec, self.dtype)


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: all that is known before a single weight is read. What cannot fit is refused from this."""

    spec: ModelSpec
    tokenizer: Tokenizer | None
    sources: Mapping[str, WeightSource]
    checkpoint: Checkpoint
    dtype: str
    device: torch.device

    @property
    def weight_bytes(self) -> int:
        """Bytes that the weights will take."""
        return weight_bytes(self.spec, self.dtype)

    def load(self) -> LoadedModel:
        """Reads the weights. Raises BadInput where they do not belong to the config."""
        weights = ModelWeights(self.spec, self.sources, self.checkpoint, TORCH_DTYPES[self.dtype], self.device)
        return LoadedModel(self.spec, Decoder(self.spec, weights.take), self.tokenizer, self.dtype, self.device)


def open_files(path: Path, *, dtype: str = "bf16", rope: str | None = None, device: str = "cpu") -> ModelFiles:
    """Opens a .gguf file, or a folder with config.json and safetensors.

    dtype: fp32, bf16 or fp16, what is computed with. rope: a RoPE override as on the command line ("yarn:4").
    Raises BadInput or UnsupportedModel.
    """
    if dtype not in TORCH_DTYPES:
        raise BadInput(f"The engine does not compute in {dtype!r}.", f"Use {', '.join(TORCH_DTYPES)}.")
    family, spec, checkpoint = _open_gguf(path) if path.suffix.lower() == ".gguf" else _open_folder(path)
    if not family.runs:
        raise UnsupportedModel(
            f"{spec.name} is of the family {family.name!r}, which this version plans but does not run.",
            "`windowtax models list` names models that run.",
        )
    sources = (
        family.gguf_weights(spec) if isinstance(checkpoint, GgufFile) else family.hf_weights(spec, nested=_nested(path))
    )
    if rope is not None:
        spec = with_rope(spec, rope)
    return ModelFiles(spec, _tokenizer(path), sources, checkpoint, dtype, torch.device(device))


def load_model(path: Path, *, dtype: str = "bf16", rope: str | None = None, device: str = "cpu") -> LoadedModel:
    """`open_files` and `load` in one."""
    return open_files(path, dtype=dtype, rope=rope, device=device).load()


def weight_bytes(spec: ModelSpec, dtype: str) -> int:
    """Bytes of all weights of a spec when they are computed with in that dtype."""
    return spec.total_parameters * TORCH_DTYPES[dtype].itemsize


def _open_gguf(path: Path) -> tuple[Family, ModelSpec, Checkpoint]:
    spec, header = read_gguf_file(path)
    return gguf_family(header), spec, GgufFile(header)


def _open_folder(path: Path) -> tuple[Family, ModelSpec, Checkpoint]:
    if not path.is_dir():
        raise BadInput(f"{path} is neither a .gguf file nor a folder with config.json and safetensors.")
    config = read_json(path / "config.json")
    spec = read_config(config, path.resolve().name, str(path))
    return config_family(config, str(path)), spec, SafetensorsFolder(path)


def _nested(path: Path) -> bool:
    return "text_config" in read_json(path / "config.json")


def _tokenizer(path: Path) -> Tokenizer | None:
    if path.is_dir() and not (path / "tokenizer.json").is_file():
        return None
    return load_tokenizer(path)
