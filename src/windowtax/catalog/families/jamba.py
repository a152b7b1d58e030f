"""Jamba (AI21 2024, arXiv 2403.19887): one layer of attention without positions to seven of Mamba, experts on every
second."""

import math

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.mamba import MAMBA_DETAILS
from windowtax.catalog.sizes import read_sizes, state_element
from windowtax.spec.attention.mamba1 import Mamba1
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """Layer i has attention where i % attn_layer_period == attn_layer_offset; experts in the same way."""
    sizes = read_sizes(config)
    config.expect("sliding_window")
    attention = sizes.attention(None)
    rank = config.take("mamba_dt_rank", object, "auto")
    mamba = Mamba1(
        channels=config.take("mamba_expand", int) * sizes.hidden_size,
        state_dim=config.take("mamba_d_state", int),
        dt_rank=rank if isinstance(rank, int) else math.ceil(sizes.hidden_size / 16),
        conv_kernel=config.take("mamba_d_conv", int),
        conv_bias=config.take("mamba_conv_bias", bool, True),
        projection_bias=config.take("mamba_proj_bias", bool, False),
        inner_norms=config.take("mamba_inner_layernorms", bool, True),
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
    )
    attends, routes = _every(config, "attn_layer"), _every(config, "expert_layer")
    return sizes.model(
        "jamba",
        [
            LayerSpec(
                attention=attention if index % attends[0] == attends[1] else mamba,
                mlp=experts if experts.num_experts > 1 and index % routes[0] == routes[1] else sizes.mlp,
            )
            for index in range(sizes.num_layers)
        ],
    )


def _every(config: StrictConfig, name: str) -> tuple[int, int]:
    """Period and offset."""
    return config.take(f"{name}_period", int), config.take(f"{name}_offset", int)


FAMILIES.register("jamba")(
    Family(
        name="jamba",
        architectures=("JambaForCausalLM", "jamba"),
        reader=read,
        ignorable={
            **MAMBA_DETAILS,
            "calc_logits_for_entire_prompt": "which logits transformers computes",
        },
    )
)
