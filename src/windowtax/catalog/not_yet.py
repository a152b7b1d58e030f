"""Architectures that are known and refused: what each needs that no attention kind here declares yet.

They are refused by name, because a plan from the wrong formula looks like any other plan: DeepSeek-V3 read as grouped
queries would cost 25 times its cache.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_LATENT = "multi-head latent attention (MLA)"
_SPARSE = "multi-head latent attention (MLA) with a sparse index (DSA)"
_COMPRESSED = "compressed and sparse attention (CSA and HCA)"
_DELTA = "gated delta networks (linear attention with a recurrent state)"
_STATE = "state-space layers (Mamba) with a recurrent state"
_LIGHTNING = "lightning attention (linear attention with a recurrent state)"
_SHARED = "layers that share the cache of earlier layers, and head sizes that differ by layer"

NOT_YET = {
    "bamba": _STATE,
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "deepseek_v32": _SPARSE,
    "deepseek_v4": _COMPRESSED,
    "falcon_h1": _STATE,
    "gemma3n": _SHARED,
    "gemma3n_text": _SHARED,
    "gemma4": _SHARED,
    "gemma4_text": _SHARED,
    "glm_moe_dsa": _SPARSE,
    "granitemoehybrid": _STATE,
    "jamba": _STATE,
    "kimi_k2": _LATENT,
    "kimi_linear": "Kimi delta attention (linear attention with a recurrent state) and latent attention",
    "mamba": _STATE,
    "mamba2": _STATE,
    "minimax": _LIGHTNING,
    "minimax_text_01": _LIGHTNING,
    "nemotron-nas": "layers without attention or without an MLP (block_configs)",
    "nemotron_h": _STATE,
    "qwen3_5": _DELTA,
    "qwen3_5_moe": _DELTA,
    "qwen3_5_moe_text": _DELTA,
    "qwen3_5_text": _DELTA,
    "qwen3_next": _DELTA,
}
"""model_type -> what is missing."""

_KEYS = {
    "kv_lora_rank": _LATENT,
    "index_topk": _SPARSE,
    "compress_ratios": _COMPRESSED,
    "linear_num_value_heads": _DELTA,
    "ssm_state_size": _STATE,
    "num_kv_shared_layers": _SHARED,
}
"""Keys that give such a model away whatever it calls itself. A null or zero means that it is none."""


def missing_piece(words: Sequence[str], config: Mapping[str, Any]) -> str:
    """What a model of these architecture words and keys needs and is not known yet; "" where nothing is missing."""
    found = next((NOT_YET[word] for word in words if word in NOT_YET), "")
    return found or next((piece for key, piece in reversed(_KEYS.items()) if config.get(key)), "")
