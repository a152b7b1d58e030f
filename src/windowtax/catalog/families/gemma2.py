"""Gemma 2 (Gemma team 2024, arXiv 2408.00118): a window on every other layer, the first included, and soft caps on
attention scores and logits."""

import math
from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import read_gguf_rope
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_gguf_sizes, read_sizes
from windowtax.catalog.weight_names import GEMMA_GGUF_NAMES, GEMMA_HF_NAMES
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement

_SCORE_CAP, _LOGIT_CAP = 50.0, 30.0
_LAYERS_OF_27B = 46


def read(config: StrictConfig) -> ModelSpec:
    """The configs repeat the window as `sliding_window_size`; where the two differ the config is refused."""
    sizes = read_sizes(config, {"head_dim": 256, "tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh"})
    config.expect("attention_bias", False)
    config.expect("use_bidirectional_attention", False)
    window = config.take("sliding_window", int)
    config.expect("sliding_window_size", window)
    full = replace(
        sizes.attention(sizes.rope(config)),
        scale=config.take("query_pre_attn_scalar", float, 256.0) ** -0.5,
        softcap=config.take("attn_logit_softcapping", float, _SCORE_CAP),
    )
    kinds = read_layer_types(config, sizes.num_layers) or every(2, sizes.num_layers)
    return _build(config, sizes, kinds, full, window, config.take("final_logit_softcapping", float, _LOGIT_CAP))


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """llama.cpp knows by heart which layers slide, and the softmax scale of the 27B model; so do we."""
    sizes = read_gguf_sizes(metadata, "gelu_tanh")
    is_27b = sizes.num_layers == _LAYERS_OF_27B
    full = replace(
        sizes.attention(read_gguf_rope(metadata, sizes)),
        scale=(sizes.hidden_size / sizes.num_query_heads if is_27b else sizes.head_dim) ** -0.5,
        softcap=metadata.take("attn_logit_softcapping", float, _SCORE_CAP),
    )
    window = metadata.take("attention.sliding_window", int)
    logit_cap = metadata.take("final_logit_softcapping", float, _LOGIT_CAP)
    return _build(metadata, sizes, every(2, sizes.num_layers), full, window, logit_cap)


def _build(
    config: StrictConfig, sizes: Sizes, kinds: list[str], full: FullAttention, window: int, logit_cap: float
) -> ModelSpec:
    attention = by_type(config, kinds, {FULL: full, SLIDING: sizes.windowed(full, window)})
    layers = [LayerSpec(attention=kind, mlp=sizes.mlp, norms=NormPlacement.SANDWICH) for kind in attention]
    return replace(
        sizes.model("gemma2", layers),
        norm_unit_offset=True,
        embedding_scale=math.sqrt(sizes.hidden_size),
        logit_softcap=logit_cap,
    )


FAMILIES.register("gemma2")(
    Family(
        name="gemma2",
        architectures=("Gemma2ForCausalLM", "gemma2"),
        runs=True,
        reader=read,
        ignorable={"cache_implementation": "which cache class transformers takes by default"},
        hf_names=GEMMA_HF_NAMES,
        gguf_architectures=("gemma2",),
        gguf_reader=read_gguf,
        gguf_names=GEMMA_GGUF_NAMES,
    )
)
