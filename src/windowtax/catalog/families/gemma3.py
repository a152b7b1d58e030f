"""Gemma 3 (Gemma team 2025, arXiv 2503.19786): five windowed layers to one global one, two RoPEs, norms around both
parts that multiply by 1 + weight, embeddings times sqrt(hidden_size), and a softmax scale of its own.

The 4B and larger are multi-modal: their decoder's config is nested, and leaves out what Gemma3TextConfig fills in.
"""

import math
from dataclasses import replace
from typing import Any

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import read_gguf_rope
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_gguf_sizes, read_sizes
from windowtax.catalog.typed import optional_dict
from windowtax.catalog.weight_names import GEMMA_GGUF_NAMES, GEMMA_HF_NAMES
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.spec.rope import Rope, read_rope_by_kind
from windowtax.spec.rope.none import NoScaling

_PATTERN = 6
_LOCAL_THETA, _GLOBAL_THETA = 1e4, 1e6
_DEFAULTS = {
    "vocab_size": 262208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}


def read(config: StrictConfig) -> ModelSpec:
    """The window kinds stand in `layer_types`, or follow from `sliding_window_pattern`."""
    sizes = read_sizes(config, _DEFAULTS)
    kinds = read_layer_types(config, sizes.num_layers)
    pattern = config.take("sliding_window_pattern", int, config.take("_sliding_window_pattern", int, _PATTERN))
    config.expect("attention_bias", False)
    config.expect("attn_logit_softcapping")
    config.expect("use_bidirectional_attention", False)
    return _build(
        config,
        sizes,
        kinds or every(pattern, sizes.num_layers),
        read_gemma_ropes(config, sizes),
        window=config.take("sliding_window", int),
        scale=config.take("query_pre_attn_scalar", float, 256.0) ** -0.5,
        softcap=config.take_optional("final_logit_softcapping", float),
    )


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """llama.cpp knows the pattern, the local RoPE and the scale of the 27B model (62 layers) by heart; so do we."""
    sizes = read_gguf_sizes(metadata, "gelu_tanh")
    local_theta = metadata.take("rope.freq_base_swa", float, _LOCAL_THETA)
    ropes = {
        FULL: read_gguf_rope(metadata, sizes, _GLOBAL_THETA),
        SLIDING: Rope(local_theta, sizes.head_dim, NoScaling()),
    }
    scalar = sizes.hidden_size / sizes.num_query_heads if sizes.num_layers == 62 else sizes.head_dim
    return _build(
        metadata,
        sizes,
        every(metadata.take("attention.sliding_window_pattern", int, _PATTERN), sizes.num_layers),
        ropes,
        window=metadata.take("attention.sliding_window", int),
        scale=scalar**-0.5,
        softcap=metadata.take_optional("final_logit_softcapping", float),
    )


def read_gemma_ropes(config: StrictConfig, sizes: Sizes) -> dict[str, Rope]:
    """New configs give both RoPEs in one dict; in old ones `rope_scaling` belongs to the global layers alone."""
    given = optional_dict(config, "rope_parameters") or {}
    if FULL not in given:
        local_theta = config.take("rope_local_base_freq", float, _LOCAL_THETA)
        return {FULL: sizes.rope(config, theta=_GLOBAL_THETA), SLIDING: Rope(local_theta, sizes.head_dim, NoScaling())}
    bases = {FULL: _GLOBAL_THETA, SLIDING: _LOCAL_THETA}
    filled: dict[str, dict[str, Any]] = {
        kind: {"rope_theta": theta, **(given.get(kind) or {})} for kind, theta in bases.items()
    }
    return read_rope_by_kind(
        StrictConfig({"rope_parameters": {**given, **filled}}, config.source),
        head_dims=dict.fromkeys(bases, sizes.head_dim),
        max_context_tokens=sizes.max_context_tokens,
    )


def _build(
    config: StrictConfig,
    sizes: Sizes,
    kinds: list[str],
    ropes: dict[str, Rope],
    *,
    window: int,
    scale: float,
    softcap: float | None,
) -> ModelSpec:
    full = {kind: replace(sizes.attention(rope, qk_norm=QkNorm.PER_HEAD), scale=scale) for kind, rope in ropes.items()}
    attention = {FULL: full[FULL], SLIDING: sizes.windowed(full[SLIDING], window)}
    layers = [
        LayerSpec(attention=kind, mlp=sizes.mlp, norms=NormPlacement.SANDWICH)
        for kind in by_type(config, kinds, attention)
    ]
    return replace(
        sizes.model("gemma3", layers),
        norm_unit_offset=True,
        embedding_scale=math.sqrt(sizes.hidden_size),
        logit_softcap=softcap,
    )


FAMILIES.register("gemma3")(
    Family(
        name="gemma3",
        architectures=("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", "gemma3_text", "gemma3"),
        runs=True,
        reader=read,
        ignorable={"cache_implementation": "which cache class transformers takes by default"},
        hf_names=GEMMA_HF_NAMES,
        nested_prefix="language_model.model.",
        gguf_architectures=("gemma3",),
        gguf_reader=read_gguf,
        gguf_names=GEMMA_GGUF_NAMES,
    )
)
