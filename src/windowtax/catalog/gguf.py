"""GGUF metadata as a config: keys without the architecture's prefix, and what only the tensors say under `file.`.

Derived keys: file.vocab_size, file.tied_embeddings, file.weight_dtype, and file.rope_factors, file.rope_long_factors,
file.rope_short_factors where the file holds such tensors.
"""

import math
from collections import Counter
from typing import Any

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import Family
from windowtax.catalog.gguf_metadata import GgufArray, GgufHeader
from windowtax.catalog.ignorable import IGNORABLE_GGUF_NAMESPACES
from windowtax.catalog.sizes import Sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.model import ModelSpec
from windowtax.spec.rope import Rope, read_rope
from windowtax.spec.rope.factors import FactorsScaling

_FACTOR_TENSORS = {
    "rope_freqs.weight": "file.rope_factors",
    "rope_factors_long.weight": "file.rope_long_factors",
    "rope_factors_short.weight": "file.rope_short_factors",
}


def gguf_config(header: GgufHeader) -> StrictConfig:
    """The metadata of a decoder. Raises BadInput where the file holds no token embedding."""
    if "token_embd.weight" not in header.tensors:
        raise BadInput(f"{header.path}: there is no tensor token_embd.weight; this is no whole language model.")
    prefix = header.architecture + "."
    data: dict[str, Any] = {}
    for key, value in header.metadata.items():
        if key.split(".", 1)[0] not in IGNORABLE_GGUF_NAMESPACES:
            data[key.removeprefix(prefix)] = value.read() if isinstance(value, GgufArray) else value
    data["file.vocab_size"] = header.tensors["token_embd.weight"].shape[0]
    data["file.tied_embeddings"] = "output.weight" not in header.tensors
    data["file.weight_dtype"] = _main_type(header)
    for tensor, key in _FACTOR_TENSORS.items():
        if tensor in header.tensors:
            data[key] = list(header.floats(tensor))
    return StrictConfig(data, str(header.path))


def read_gguf_rope(metadata: StrictConfig, sizes: Sizes, theta: float = 1e4) -> Rope:
    """The RoPE of GGUF metadata: base, rotated dimensions, scaling by rule, or divisors from a tensor.

    theta: the base where the metadata names none. Raises UnsupportedModel for two scalings at once.
    """
    theta = metadata.take("rope.freq_base", float, theta)
    rotary_dim = metadata.take("rope.dimension_count", int, sizes.head_dim)
    factors = optional_list(metadata, "file.rope_factors")
    scaling = _scaling(metadata)
    if factors is not None:
        if scaling:
            raise UnsupportedModel(f"{metadata.source}: RoPE is scaled both by metadata and by a tensor of factors.")
        return Rope(theta, rotary_dim, FactorsScaling(tuple(factors)))
    config = StrictConfig({"rope_theta": theta, "rope_scaling": scaling or None}, metadata.source)
    return read_rope(config, head_dim=rotary_dim, max_context_tokens=sizes.max_context_tokens)


def check_tensors(family: Family, spec: ModelSpec, header: GgufHeader) -> None:
    """Raises BadInput or UnsupportedModel unless the file holds exactly the weights of the spec, in their shapes."""
    sources = family.gguf_weights(spec)
    expected: dict[str, tuple[int, ...]] = {}
    for weight in spec.weights():
        source = sources[weight.name]
        # Of a fused tensor, the part that ends last says how many rows there are.
        rows = max(source.rows[1] if source.rows else weight.shape[0], *expected.get(source.key, (0,))[:1])
        expected[source.key] = (rows, *weight.shape[1:])
    for key, shape in expected.items():
        tensor = header.tensors.get(key)
        if tensor is None:
            raise BadInput(f"{header.path}: the tensor {key!r} is missing.", "The file may be one of several parts.")
        if tensor.shape != shape:
            raise BadInput(f"{header.path}: {key!r} is {tensor.shape}, but the metadata says {shape}.")
    unknown = sorted(set(header.tensors) - set(expected) - set(_FACTOR_TENSORS))
    if unknown:
        raise UnsupportedModel(
            f"{header.path}: nobody reads {len(unknown)} tensors, such as {', '.join(unknown[:3])}.",
            "A tensor that is skipped in silence can change the answer, so the file is refused.",
        )


def _scaling(metadata: StrictConfig) -> dict[str, Any]:
    """The rope dict that Hugging Face would write for the same scaling; empty for none."""
    kind = metadata.take("rope.scaling.type", str, "none")
    factor = metadata.take_optional("rope.scaling.factor", float)
    original = metadata.take_optional("rope.scaling.original_context_length", int)
    found: dict[str, Any] = {"rope_type": kind, "factor": factor, "original_max_position_embeddings": original}
    if kind == "none" or (kind == "linear" and factor in (None, 1.0)):
        return {}
    if kind == "linear":
        found.pop("original_max_position_embeddings")
    return {key: value for key, value in found.items() if value is not None}


def _main_type(header: GgufHeader) -> str:
    """The type that most numbers of the file are stored in."""
    counts: Counter[str] = Counter()
    for tensor in header.tensors.values():
        counts[tensor.type] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0]
