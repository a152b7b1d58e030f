"""In which element type the matrices of a published checkpoint are: from `torch_dtype` and `quantization_config`.

One name for the whole checkpoint: the lists of modules that stay unquantised are not read, so a plan assumes for all
checkpoints of a type what its scheme says (plan/schemes.py). A few keep more, such as all of attention, in wide types.
"""

from typing import Any, cast

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.typed import optional_dict

_PLAIN = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
_BY_METHOD = {"fp8": "fp8", "fbgemm_fp8": "fp8", "mxfp4": "mxfp4"}
_BY_ALGORITHM = {"FP8": "fp8", "NVFP4": "nvfp4"}
_TOLD = ("quant_method", "quant_algo", "bits", "format")
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
        what = {key: quantised[key] for key in _TOLD if key in quantised} if quantised else named
        raise UnsupportedModel(f"{config.source}: weights of type {what!r} are not known here.")
    return found


def _quantised(settings: dict[str, Any]) -> str | None:
    """fp8 and mxfp4 by their method, ModelOpt by its algorithm, AWQ and GPTQ by bits, compressed-tensors by group."""
    if settings.get("quant_algo") in _BY_ALGORITHM:
        return _BY_ALGORITHM[settings["quant_algo"]]
    if settings.get("quant_method") in _BY_METHOD:
        return _BY_METHOD[settings["quant_method"]]
    if settings.get("quant_method") in ("awq", "gptq"):
        return _BY_BITS.get(("int", settings.get("bits", 0)))
    groups = cast("dict[str, dict[str, Any]]", settings.get("config_groups") or {})
    kinds = {_of_group(group.get("weights") or {}) for group in groups.values()}
    if settings.get("format") == "mxfp4-pack-quantized":
        return "mxfp4"
    return kinds.pop() if len(kinds) == 1 else _MIXED.get(frozenset(kinds))


def _of_group(weights: dict[str, Any]) -> str | None:
    if weights.get("type") == "float" and weights.get("num_bits") == 4 and weights.get("group_size") == 16:
        return "nvfp4"
    return _BY_BITS.get((weights.get("type", ""), weights.get("num_bits", 0)))
