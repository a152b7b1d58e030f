"""In which element types a published checkpoint is: its matrices, and the cache that it was calibrated for.

From `torch_dtype` and `quantization_config`, in which all makers' words stand (quantisers.md of transformers; ModelOpt
writes its own beside it, see `quantisation.py`). One name for the whole checkpoint: the lists of modules that stay
unquantised are not read, so a plan assumes for all checkpoints of a type what its scheme says (plan/schemes.py). A few
keep more, such as all of attention, in wide types.
"""

from collections.abc import Mapping
from typing import Any, cast

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.typed import optional_dict

_PLAIN = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_BY_METHOD = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4", "mxfp8": "mxfp8", "eetq": "int8"}
_BY_ALGORITHM = {
    "FP8": "fp8",
    "FP8_PB_WO": "fp8",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "MXFP8": "mxfp8",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "W4A16_AWQ": "int4",
    "W4A8_AWQ": "int4",
    "W8A8_SQ_PER_CHANNEL": "int8",
}
"""ModelOpt's words (modelopt/torch/export/quant_utils.py)."""
_MIXED_ALGORITHM = "MIXED_PRECISION"
_INTEGER_METHODS = ("awq", "gptq", "auto-round", "intel/auto-round")
_TOLD = ("quant_method", "quant_algo", "moe_quant_algo", "bits", "format")
_MX_BLOCK = [1, 32]
"""weight_block_size of MXFP8, which calls itself fp8 here and there: 32 numbers of a row share an exponent."""
_MIXED: dict[frozenset[str | None], str] = {frozenset({"fp8", "nvfp4"}): "nvfp4_fp8"}
"""Feed-forward parts in NVFP4, attention in fp8 (ModelOpt's MIXED_PRECISION)."""
_BY_BITS = {("int", 4): "int4", ("int", 8): "int8", ("float", 8): "fp8"}


def read_weight_dtype(config: StrictConfig) -> str:
    """The element type's name; bf16 where the config does not say. Raises UnsupportedModel for one not known."""
    named = config.take_optional("torch_dtype", str) or config.take_optional("dtype", str) or "bfloat16"
    config.take_optional("dtype", str)
    quantised = optional_dict(config, "quantization_config")
    found = _quantised(quantised) if quantised else _PLAIN.get(named)
    if found is None:
        what = _told(quantised) if quantised else named
        raise UnsupportedModel(f"{config.source}: weights of type {what!r} are not known here.")
    return found


def _told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What names the type, for an error."""
    what = {key: settings[key] for key in _TOLD if key in settings}
    if layers := _algorithms(settings):
        what["quantized_layers"] = sorted(str(name) for name in layers)
    if settings.get("quant_method") == "bitsandbytes":
        what |= {key: value for key, value in settings.items() if key.startswith(("load_in", "bnb_4bit"))}
    return what


def _quantised(settings: dict[str, Any]) -> str | None:
    """By ModelOpt's algorithm (of the whole, or per layer), by method, by bits, or by compressed-tensors' groups."""
    method, algorithm = settings.get("quant_method"), settings.get("quant_algo")
    if algorithm in _BY_ALGORITHM:
        return _BY_ALGORITHM[algorithm]
    if algorithm == _MIXED_ALGORITHM and (layers := _algorithms(settings)):
        others = ["fp8"] if method == "fp8" else []
        return _mixed({*others, *(_BY_ALGORITHM.get(str(name)) for name in layers)})
    if "moe_quant_algo" in settings:
        return _mixed({_BY_METHOD.get(str(method)), _BY_ALGORITHM.get(settings["moe_quant_algo"])})
    if method == "fp8" and settings.get("weight_block_size") == _MX_BLOCK:
        return "mxfp8"
    if method in _BY_METHOD:
        return _BY_METHOD[method]
    if method in _INTEGER_METHODS:
        return _BY_BITS.get(("int", settings.get("bits", 0)))
    if method == "bitsandbytes":
        return _bitsandbytes(settings)
    if settings.get("format") == "mxfp4-pack-quantized":
        return "mxfp4"
    groups = cast("dict[str, dict[str, Any]]", settings.get("config_groups") or {})
    return _mixed({_of_group(group.get("weights") or {}) for group in groups.values()})


def _mixed(kinds: set[str | None]) -> str | None:
    return next(iter(kinds)) if len(kinds) == 1 else _MIXED.get(frozenset(kinds))


def _algorithms(settings: Mapping[str, Any]) -> set[str | None]:
    layers = cast("dict[str, dict[str, Any]]", settings.get("quantized_layers") or {})
    return {layer.get("quant_algo") for layer in layers.values()}


def _bitsandbytes(settings: Mapping[str, Any]) -> str | None:
    """LLM.int8 keeps one scale per row. Both 4-bit types, nf4 and fp4, have as many bits."""
    if settings.get("load_in_8bit"):
        return "int8"
    if not settings.get("load_in_4bit"):
        return None
    return "nf4_double" if settings.get("bnb_4bit_use_double_quant") else "nf4"


def _of_group(weights: dict[str, Any]) -> str | None:
    if weights.get("type") == "float" and weights.get("num_bits") == 4 and weights.get("group_size") == 16:
        return "nvfp4"
    if weights.get("type") == "float" and weights.get("num_bits") == 8 and weights.get("group_size") == 32:
        return "mxfp8"
    return _BY_BITS.get((weights.get("type", ""), weights.get("num_bits", 0)))
