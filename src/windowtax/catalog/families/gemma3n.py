"""Gemma 3n (Google 2025): Gemma 3's windows, the cache of 20 layers shared by 15 more, embeddings for each layer, and
residual streams that predict and correct each other (AltUp). E2B is a part of E4B: fewer layers, narrower."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import cast

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.cache_sharing import share_last
from windowtax.catalog.families.gemma3 import read_gemma_ropes
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.spec.weights import Weight

_DEFAULTS = {"tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6}


def read(config: StrictConfig) -> ModelSpec:
    """`intermediate_size` is one number or a list."""
    widths = config.take("intermediate_size", object)
    sizes = read_sizes(config, _DEFAULTS, intermediate_size=0)
    listed = cast("list[int]", widths) if isinstance(widths, list) else [widths] * sizes.num_layers
    if len(listed) != sizes.num_layers or not all(isinstance(width, int) for width in listed):
        raise BadInput(f"{config.source}: 'intermediate_size' must be a number, or one for each of the layers.")
    config.expect("attention_bias", False)
    kinds = read_layer_types(config, sizes.num_layers) or every(5, sizes.num_layers)
    attention = share_last(
        by_type(config, kinds, _attention(config, sizes)),
        kinds,
        config.take("num_kv_shared_layers", int),
        config.source,
    )
    streams, per_layer = config.take("altup_num_inputs", int), config.take("hidden_size_per_layer_input", int)
    beside = _beside_layer(sizes, streams, per_layer, config.take("laurel_rank", int))
    layers = [
        LayerSpec(
            attention=kind,
            mlp=GatedMlp(intermediate_size=cast(int, width), activation=sizes.activation),
            norms=NormPlacement.SANDWICH,
            extra_weights=beside,
        )
        for kind, width in zip(attention, listed, strict=True)
    ]
    return replace(
        sizes.model("gemma3n", layers),
        embedding_scale=math.sqrt(sizes.hidden_size),
        logit_softcap=config.take_optional("final_logit_softcapping", float),
        extra_weights=(
            *per_layer_embedding(sizes, per_layer, config.take("vocab_size_per_layer_input", int, sizes.vocab_size)),
            *(
                Weight(f"stream_{way}.{index}", (sizes.hidden_size, sizes.hidden_size))
                for way in ("in", "out")
                for index in range(streams - 1)
            ),
        ),
    )


def _attention(config: StrictConfig, sizes: Sizes) -> dict[str, SoftmaxAttention]:
    ropes = read_gemma_ropes(config, sizes)
    full = {kind: replace(sizes.attention(rope, qk_norm=QkNorm.PER_HEAD), scale=1.0) for kind, rope in ropes.items()}
    return {FULL: full[FULL], SLIDING: sizes.windowed(full[SLIDING], config.take("sliding_window", int))}


def per_layer_embedding(sizes: Sizes, width: int, vocab: int) -> tuple[Weight, ...]:
    """A table with a vector for every layer and token, of which a token looks up one row; none where width is 0."""
    if not width:
        return ()
    wide = sizes.num_layers * width
    return (
        Weight("layer_embedding", (vocab, wide), Fraction(1, vocab)),
        Weight("layer_projection", (wide, sizes.hidden_size)),
        Weight("layer_projection_norm", (width,)),
    )


def per_layer_gate(hidden_size: int, width: int) -> tuple[Weight, ...]:
    """What brings a layer's own embedding into it; none where width is 0."""
    if not width:
        return ()
    return (
        Weight("input_gate", (width, hidden_size)),
        Weight("input_projection", (hidden_size, width)),
        Weight("input_post_norm", (hidden_size,)),
    )


def _beside_layer(sizes: Sizes, streams: int, per_layer: int, rank: int) -> tuple[Weight, ...]:
    hidden = sizes.hidden_size
    return (
        *per_layer_gate(hidden, per_layer),
        Weight("streams.scale", (hidden,)),
        Weight("streams.correct", (streams, streams)),
        Weight("streams.predict", (streams * streams, streams)),
        Weight("streams.router", (streams, hidden)),
        Weight("streams.router_norm", (hidden,)),
        Weight("low_rank.left", (rank, hidden)),
        Weight("low_rank.right", (hidden, rank)),
        Weight("low_rank.norm", (hidden,)),
    )


_STREAMS = "how residual streams are mixed: logits only, and this family is planned, not run"

FAMILIES.register("gemma3n")(
    Family(
        name="gemma3n",
        architectures=("Gemma3nForConditionalGeneration", "Gemma3nForCausalLM", "gemma3n", "gemma3n_text"),
        reader=read,
        parts=("num_kv_shared_layers",),
        ignorable={
            "activation_sparsity_pattern": "which activations are set to zero: logits only, and this family is planned",
            "altup_active_idx": _STREAMS,
            "altup_coef_clip": _STREAMS,
            "altup_correct_scale": _STREAMS,
            "altup_lr_multiplier": "acts in training only",
            "query_pre_attn_scalar": "a leftover of Gemma 3; scores are not scaled",
        },
    )
)
