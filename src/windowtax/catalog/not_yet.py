"""Architectures that are known and refused: what each needs that no attention kind here declares yet.

They are refused by name, because a plan from the wrong formula looks like any other plan: DeepSeek-V3 read as grouped
queries would cost 25 times its cache.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

_SHARED_BLOCKS = "blocks of attention that several layers share, between state-space layers (Mamba)"
_CROSS = "cross-attention to an image, whose keys and values stand beside those of the text"
_TIME_MIX = "a recurrent state of its own (RWKV)"

NOT_YET = {
    "mllama": _CROSS,
    "mllama_text_model": _CROSS,
    "rwkv": _TIME_MIX,
    "rwkv7": _TIME_MIX,
    "xlstm": "recurrent states of its own (xLSTM)",
    "zamba": _SHARED_BLOCKS,
    "zamba2": _SHARED_BLOCKS,
}
"""model_type -> what is missing."""

_KEYS = {
    "kv_lora_rank": "multi-head latent attention (MLA)",
    "index_topk": "multi-head latent attention (MLA) with a sparse index (DSA)",
    "compress_ratios": "compressed and sparse attention (CSA and HCA)",
    "linear_num_value_heads": "gated delta networks (linear attention with a recurrent state)",
    "ssm_state_size": "state-space layers (Mamba) with a recurrent state",
    "num_kv_shared_layers": "layers that share the cache of earlier layers",
}
"""Keys that give away such a part whatever the model calls itself. A null or zero means that it is none."""


def missing_piece(words: Sequence[str]) -> str:
    """What a model of these architecture words needs and is not known yet; "" where nothing is missing."""
    return next((NOT_YET[word] for word in words if word in NOT_YET), "")


def telling_piece(config: Mapping[str, Any], known: Collection[str]) -> str:
    """What the keys give away that a family which reads the `known` ones of them does not have; "" where nothing."""
    return next((piece for key, piece in reversed(_KEYS.items()) if config.get(key) and key not in known), "")
