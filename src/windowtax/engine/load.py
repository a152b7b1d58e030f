"""From a path to a model that can run: spec, weights, tokenizer."""

from dataclasses import dataclass
from pathlib import Path

import torch

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.family import Family
from windowtax.catalog.read import config_family, gguf_family, read_config, read_gguf_file, read_json
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
        return self.spec.total_parameters * TORCH_DTYPES[self.dtype].itemsize


def load_model(path: Path, *, dtype: str = "bf16", rope: str | None = None, device: str = "cpu") -> LoadedModel:
    """Loads a .gguf file, or a folder with config.json and safetensors.

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
    target = torch.device(device)
    sources = (
        family.gguf_weights(spec) if isinstance(checkpoint, GgufFile) else family.hf_weights(spec, nested=_nested(path))
    )
    if rope is not None:
        spec = with_rope(spec, rope)
    weights = ModelWeights(spec, sources, checkpoint, TORCH_DTYPES[dtype], target)
    return LoadedModel(spec, Decoder(spec, weights.take), _tokenizer(path), dtype, target)


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
