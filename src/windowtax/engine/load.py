"""From a path to a model that can run: spec, weights, tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.catalog.family import Family
from windowtax.catalog.read import config_family, gguf_family, read_config, read_gguf_file, read_json
from windowtax.catalog.weight_names import WeightSource
from windowtax.engine.backend import TORCH, Backend, choose_backend, weight_format
from windowtax.engine.checkpoint import Checkpoint, GgufFile, ModelWeights, SafetensorsFolder
from windowtax.engine.tokenizer import Tokenizer, gguf_tokenizer, load_tokenizer
from windowtax.nn.recorded.decoder import RecordedDecoder, plan_matrices
from windowtax.spec.dtypes import ELEMENT_TYPES, cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.override import with_attention, with_rope

if TYPE_CHECKING:
    from windowtax.nn.decoder import Decoder

COMPUTED = ("fp32", "bf16", "fp16")
"""Element types that the engine computes with."""

_SAMPLE_BYTES = 4 << 20
"""Of each end of a file of weights, for its identity: the header and some tensors."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. source: the file or folder that it came from. tokenizer: None where the folder holds none
    (tests run on token ids)."""

    spec: ModelSpec
    decoder: Decoder | RecordedDecoder
    tokenizer: Tokenizer | None
    dtype: str
    device: str

    backend: Backend = TORCH
    identity: bytes = b""
    source: str = ""

    def fingerprint(self, cache_dtype_name: str) -> bytes:
        """Of everything that cached bytes depend on beside the tokens: weights, levers, dtypes, and who computed."""
        parts = (self.dtype, cache_dtype_name, self.backend.weights, self.backend.name)
        return blake3(b"\0".join([self.identity, *(part.encode() for part in parts)])).digest(16)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they are computed with."""
        if isinstance(self.decoder, RecordedDecoder):
            return self.decoder.weight_bytes
        return weight_bytes(self.spec, self.dtype)

    @property
    def step_weight_bytes(self) -> int | None:
        """Bytes of weights that every step reads, where they are packed; None: as the spec and the dtype say."""
        return self.decoder.step_weight_bytes if isinstance(self.decoder, RecordedDecoder) else None


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: all that is known before a single weight is read. What cannot fit is refused from this."""

    spec: ModelSpec
    sources: Mapping[str, WeightSource]
    checkpoint: Checkpoint
    path: Path
    dtype: str
    device: str
    identity: bytes = b""

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """Made when it is first asked for: a large vocabulary takes longer than the weights. None where the folder
        holds none. Raises BadInput and UnsupportedModel."""
        if isinstance(self.checkpoint, GgufFile):
            return gguf_tokenizer(self.checkpoint.header)
        return load_tokenizer(self.path) if (self.path / "tokenizer.json").is_file() else None

    def weight_bytes(self, backend: Backend = TORCH) -> int:
        """Bytes that the weights will take."""
        if backend.native is None:
            return weight_bytes(self.spec, self.dtype)
        choose = weight_format(backend.weights, self.dtype)
        return sum(plan.num_bytes for plan in plan_matrices(self.spec, self._weights, choose))

    def step_weight_bytes(self, backend: Backend = TORCH) -> int:
        """Bytes of weights that every step will read: all but an embedding that is not the head too."""
        if backend.native is None:
            apart = 0 if self.spec.tie_embeddings else self.spec.vocab_size * self.spec.hidden_size
            return weight_bytes(self.spec, self.dtype) - apart * ELEMENT_TYPES[self.dtype].bits // 8
        plans = plan_matrices(self.spec, self._weights, weight_format(backend.weights, self.dtype))
        return sum(plan.num_bytes for plan in plans if plan.key != "embedding" or self.spec.tie_embeddings)

    def head_bytes(self, backend: Backend = TORCH) -> int:
        """Of these, the output head: read once in a prefill, when nothing else is computed."""
        if backend.native is None:
            return self.spec.vocab_size * self.spec.hidden_size * ELEMENT_TYPES[self.dtype].bits // 8
        plans = plan_matrices(self.spec, self._weights, weight_format(backend.weights, self.dtype))
        head = "embedding" if self.spec.tie_embeddings else "head"
        return sum(plan.num_bytes for plan in plans if plan.key == head)

    @property
    def _weights(self) -> ModelWeights:
        return ModelWeights(self.spec, self.sources, self.checkpoint, self.dtype)

    def load(self, backend: Backend = TORCH, meanwhile: Callable[[], object] = lambda: None) -> LoadedModel:
        """Reads the weights. Raises BadInput where they do not belong to the config.

        meanwhile: called once while they are being read, on this thread; what it raises ends the reading. The
        tokenizer is made in that time too.
        """

        def work() -> None:
            meanwhile()
            _ = self.tokenizer

        weights = self._weights
        if backend.native is None:
            work()
            # Importing torch takes most of a second and some 190 MiB: only where it computes.
            from windowtax.engine.torch_runner import make_decoder

            decoder = make_decoder(self.spec, weights, self.dtype, self.device)
        else:
            choose = weight_format(backend.weights, self.dtype)
            decoder = RecordedDecoder(self.spec, weights, choose, backend.native, backend.num_threads, work)
        source = str(self.path.resolve())
        return LoadedModel(self.spec, decoder, self.tokenizer, self.dtype, self.device, backend, self.identity, source)

    def backend(self, cache_dtype_name: str, weights: str) -> Backend:
        """Who will compute with a cache of that dtype. Raises BadInput (see choose_backend)."""
        layout = self.spec.layout(cache_dtype(cache_dtype_name))
        return choose_backend(self.spec, layout, dtype=self.dtype, device=self.device, weights=weights)


def open_files(
    path: Path, *, dtype: str = "bf16", rope: str | None = None, attention: str | None = None, device: str = "cpu"
) -> ModelFiles:
    """Opens a .gguf file, or a folder with config.json and safetensors.

    dtype: fp32, bf16 or fp16, what is computed with. rope, attention: overrides as on the command line ("yarn:4",
    "full=sinks:4+window:4096"). Raises BadInput or UnsupportedModel.
    """
    if dtype not in COMPUTED:
        raise BadInput(f"The engine does not compute in {dtype!r}.", f"Use {', '.join(COMPUTED)}.")
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
    if attention is not None:
        spec = with_attention(spec, attention)
    return ModelFiles(spec, sources, checkpoint, path, dtype, device, identity_of(path, rope, attention))


def load_model(
    path: Path, *, dtype: str = "bf16", rope: str | None = None, attention: str | None = None, device: str = "cpu"
) -> LoadedModel:
    """`open_files` and `load` in one."""
    return open_files(path, dtype=dtype, rope=rope, attention=attention, device=device).load()


def identity_of(path: Path, *levers: str | None) -> bytes:
    """A name for weights and levers: over the size, the head and the tail of every file of weights, and the config."""
    hashed = blake3()
    files = [path] if path.is_file() else sorted([*path.glob("*.safetensors"), path / "config.json"])
    for file in files:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            hashed.update(f"{file.name} {size} ".encode() + stream.read(_SAMPLE_BYTES))
            stream.seek(max(0, size - _SAMPLE_BYTES))
            hashed.update(stream.read(_SAMPLE_BYTES))
    hashed.update(repr(levers).encode())
    return hashed.digest(16)


def weight_bytes(spec: ModelSpec, dtype: str) -> int:
    """Bytes of all weights of a spec when they are computed with in that dtype."""
    return spec.total_parameters * ELEMENT_TYPES[dtype].bits // 8


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
