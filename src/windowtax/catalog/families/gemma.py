"""Gemma 1 and CodeGemma (Gemma team 2024, arXiv 2403.08295): heads of 256 numbers whatever the hidden size, norms that
multiply by 1 + weight, embeddings times sqrt(hidden_size)."""

import math
from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """Early configs write `hidden_act: gelu` and mean its tanh form, which `hidden_activation` names since."""
    if config.take("hidden_act", str, "gelu_pytorch_tanh") == "gelu":
        activation = "gelu_tanh"
        config.expect("hidden_activation", "gelu_pytorch_tanh", "gelu")
    else:
        activation = None
    sizes = read_sizes(
        config,
        {"tie_word_embeddings": True, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh"},
        activation=activation,
    )
    config.expect("attention_bias", False)
    config.expect("use_bidirectional_attention", False)
    spec = stack("gemma", sizes, sizes.attention(sizes.rope(config)), sizes.mlp)
    return replace(spec, norm_unit_offset=True, embedding_scale=math.sqrt(sizes.hidden_size))


FAMILIES.register("gemma")(Family(name="gemma", architectures=("GemmaForCausalLM", "gemma"), reader=read))
