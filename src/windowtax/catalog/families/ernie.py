"""ERNIE 4.5 (Baidu 2025): one switch for the biases of every projection, RoPE over neighbouring pairs; with experts, a
run of layers routes to them beside shared ones."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import some, stack
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.mlp import ExpertsMlp, Mlp
from windowtax.spec.model import ModelSpec

_DEFAULTS = {"tie_word_embeddings": True}


def read(config: StrictConfig) -> ModelSpec:
    """Dense."""
    sizes = read_sizes(config, _DEFAULTS)
    bias = config.take("use_bias", bool, False)
    return stack("ernie4_5", sizes, _attention(config, sizes, bias=bias), replace(sizes.mlp, bias=bias))


def read_moe(config: StrictConfig) -> ModelSpec:
    """Experts stand from `moe_layer_start_index` to `moe_layer_end_index`, on every so many layers."""
    sizes = read_sizes(config, _DEFAULTS)
    config.expect("use_bias", False)
    config.expect("moe_use_aux_free", True)
    width = config.take("moe_intermediate_size", int)
    experts = ExpertsMlp(
        num_experts=config.take("moe_num_experts", int),
        top_k=config.take("moe_k", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("moe_num_shared_experts", int, 0),
        router_bias=True,
    )
    first = config.take("moe_layer_start_index", int)
    last = config.take("moe_layer_end_index", int, -1) % sizes.num_layers
    every = config.take("moe_layer_interval", int, 1)
    flags = [first <= index <= last and (index + 1) % every == 0 for index in range(sizes.num_layers)]
    mlps: list[Mlp] = some(flags, experts, sizes.mlp)
    return stack("ernie4_5_moe", sizes, _attention(config, sizes, bias=False), mlps)


def _attention(config: StrictConfig, sizes: Sizes, *, bias: bool) -> FullAttention:
    config.expect("compression_ratio", 1.0)
    return replace(sizes.attention(sizes.rope(config, theta=5e5), qkv_bias=bias), output_bias=bias)


_IGNORABLE = {
    **PREDICTION_LAYERS,
    "use_rmsnorm": "every checkpoint has RMS norms; a norm is counted as one vector",
    "attention_probs_dropout_prob": "acts in training only",
    "hidden_dropout_prob": "acts in training only",
}

FAMILIES.register("ernie4_5")(
    Family(name="ernie4_5", architectures=("Ernie4_5ForCausalLM", "ernie4_5"), reader=read, ignorable=_IGNORABLE)
)
FAMILIES.register("ernie4_5_moe")(
    Family(
        name="ernie4_5_moe",
        architectures=("Ernie4_5_MoeForCausalLM", "ernie4_5_moe"),
        reader=read_moe,
        ignorable={
            **ROUTING,
            **_IGNORABLE,
            "moe_capacity": "acts in training only",
            "moe_gate": "the name of the router's kind, of which there is one",
            "moe_norm_min": "weighs the chosen experts; not their number, bytes or FLOPs",
        },
    )
)
