"""Tiny random models of every family that runs: transformers builds them, saves them, and is the witness.

One row per family or variant; the tests of logits, of the ledger and of the ways to compute walk these rows.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
)

_SMALL = {
    "vocab_size": 160,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_LONG_FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 3.0, 4.0]}


def _llama(**changes: object) -> LlamaConfig:
    return LlamaConfig(**{**_SMALL, **changes})


def _rope(**scaling: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_theta": 10_000.0, **scaling}}


FAMILIES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": _llama,
    "llama, tied, one KV head": lambda: _llama(tie_word_embeddings=True, num_key_value_heads=1),
    "llama, biases": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama, rope llama3": lambda: _llama(
        **_rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        )
    ),
    "llama, rope linear": lambda: _llama(**_rope(rope_type="linear", factor=4.0)),
    "llama, rope yarn": lambda: _llama(
        **_rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0)
    ),
    "mistral, window": lambda: MistralConfig(**_SMALL, sliding_window=11, head_dim=8),
    "mistral, no window": lambda: MistralConfig(**_SMALL, sliding_window=None, head_dim=16),
    "qwen2": lambda: Qwen2Config(**_SMALL),
    "qwen2, windows on the upper layers": lambda: Qwen2Config(
        **_SMALL, use_sliding_window=True, sliding_window=9, max_window_layers=1
    ),
    "qwen3": lambda: Qwen3Config(**_SMALL, head_dim=16),
    "qwen3.5, states": lambda: Qwen3_5TextConfig(
        **{**_SMALL, "num_hidden_layers": 4},
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=12,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    ),
    "short convolutions (LFM2)": lambda: Lfm2Config(
        **_SMALL,
        layer_types=["conv", "full_attention", "conv"],
        block_auto_adjust_ff_dim=False,
    ),
    "gemma3": lambda: Gemma3TextConfig(
        **{**_SMALL, "num_hidden_layers": 7, "num_key_value_heads": 1},
        head_dim=16,
        sliding_window=10,
        query_pre_attn_scalar=24,
    ),
    "gemma2": lambda: Gemma2Config(**_SMALL, head_dim=16, sliding_window=10, query_pre_attn_scalar=24),
    "phi3": lambda: Phi3Config(**_SMALL),
    "phi3, longrope": lambda: Phi3Config(
        **_SMALL,
        original_max_position_embeddings=32,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10_000.0, **_LONG_FACTORS},
    ),
    "phi3, partial rotary, window": lambda: Phi3Config(
        **_SMALL,
        sliding_window=13,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    ),
}


def save_tiny(name: str, folder: Path) -> torch.nn.Module:
    """Builds the model of that row with random float32 weights, saves it, returns it in evaluation mode."""
    torch.manual_seed(sorted(FAMILIES).index(name))
    model = AutoModelForCausalLM.from_config(FAMILIES[name](), attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Norm weights away from their neutral value, and logits spread enough for a clear greedy choice.
            parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.15))
    model.save_pretrained(folder)
    return model
