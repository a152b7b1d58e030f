"""The file `hf_quant_config.json`, in which ModelOpt says how a checkpoint was quantised, beside a config.json that may
not say it at all (nvidia/DeepSeek-V3.1-NVFP4): and what either says of the cache."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput, UnsupportedModel

BESIDE = "hf_quant_config.json"
_CACHE_BY_ALGORITHM = {"FP8": "fp8", "NVFP4": "nvfp4"}
_CACHE_BY_SCHEME = {("float", 8): "fp8", ("float", 4): "nvfp4"}


def with_quantisation(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The contents of a config.json and, where it names no quantisation of weights, that of the file beside it.

    path: of the config.json. Raises BadInput where the file beside it cannot be read.
    """
    beside = path.with_name(BESIDE)
    if not beside.is_file():
        return data
    try:
        found: object = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{beside} cannot be read: {error}") from None
    said = cast("dict[str, Any]", found).get("quantization") if isinstance(found, dict) else None
    if not isinstance(said, dict):
        raise BadInput(f"{beside}: there is no 'quantization' in it.")
    own = _own(data)
    return {**data, "quantization_config": {"quant_method": "modelopt", **cast("dict[str, Any]", said), **own}}


def checkpoint_cache_dtype(data: Mapping[str, Any], source: str) -> str | None:
    """The cache dtype that a checkpoint was calibrated for and engines take by default; None where it names none.

    ModelOpt writes `kv_cache_quant_algo`, compressed-tensors `kv_cache_scheme`. Raises UnsupportedModel for one that is
    not known.
    """
    settings = _own(data)
    said = settings.get("kv_cache_quant_algo") or settings.get("kv_cache_scheme")
    if said is None:
        return None
    if isinstance(said, dict):
        scheme = cast("dict[str, Any]", said)
        found = _CACHE_BY_SCHEME.get((scheme.get("type", ""), scheme.get("num_bits", 0)))
    else:
        found = _CACHE_BY_ALGORITHM.get(str(said))
    if found is None:
        raise UnsupportedModel(f"{source}: a cache of type {said!r} is not known here.")
    return found


def _own(data: Mapping[str, Any]) -> dict[str, Any]:
    inner = data.get("text_config")
    nested = cast("dict[str, Any]", inner).get("quantization_config") if isinstance(inner, dict) else None
    return cast("dict[str, Any]", data.get("quantization_config") or nested or {})
