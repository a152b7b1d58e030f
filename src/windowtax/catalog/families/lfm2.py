"""LFM2 (Liquid AI 2025, arXiv 2511.23404): short convolutions on most layers, grouped queries on the others; dense, or
with experts."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.layer_types import FULL, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import some, stack
from windowtax.catalog.typed import optional_list
from windowtax.catalog.weight_names import HF_NAMES
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.short_conv import ShortConv
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp, GatedMlp
from windowtax.spec.model import ModelSpec

_CONV = "conv"


def read(config: StrictConfig) -> ModelSpec:
    """The width of the MLP is worked out of `intermediate_size`, as in Llama 1, unless that is switched off."""
    sizes = _sizes(config)
    return stack("lfm2", sizes, _attention(config, sizes), _mlp(config, sizes))


def read_moe(config: StrictConfig) -> ModelSpec:
    """The first `num_dense_layers` are dense."""
    sizes = _sizes(config)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation=sizes.activation,
        router_bias=config.take("use_expert_bias", bool, True),
    )
    dense = config.take("num_dense_layers", int)
    mlps = some([index >= dense for index in range(sizes.num_layers)], experts, sizes.mlp)
    return stack("lfm2_moe", sizes, _attention(config, sizes), mlps)


def _sizes(config: StrictConfig) -> Sizes:
    """`block_ff_dim` is the older name of intermediate_size, `tie_embedding` that of tie_word_embeddings."""
    tied = config.take("tie_embedding", bool, True)
    width = config.take("block_ff_dim", int, config.take("intermediate_size", int, 0))
    config.expect("block_dim", config.take("hidden_size", int))
    defaults = {"hidden_act": "silu", "tie_word_embeddings": tied}
    return read_sizes(config, defaults, norm_eps_key="norm_eps", intermediate_size=width)


def _mlp(config: StrictConfig, sizes: Sizes) -> GatedMlp:
    width = sizes.intermediate_size
    if config.take("block_auto_adjust_ff_dim", bool, True):
        multiple = config.take("block_multiple_of", int, 256)
        width = int(config.take("block_ffn_dim_multiplier", float, 1.0) * int(2 * width / 3))
        width = -(-width // multiple) * multiple
    return GatedMlp(intermediate_size=width, activation=sizes.activation)


def _attention(config: StrictConfig, sizes: Sizes) -> list[AttentionKind]:
    chosen = optional_list(config, "full_attn_idxs")
    kinds = read_layer_types(config, sizes.num_layers)
    if kinds is None:
        chosen = range(sizes.num_layers) if chosen is None else chosen
        kinds = [FULL if index in chosen else _CONV for index in range(sizes.num_layers)]
    conv = ShortConv(
        channels=sizes.hidden_size,
        conv_kernel=config.take("conv_L_cache", int, 3),
        bias=config.take("conv_bias", bool, False),
    )
    known: dict[str, AttentionKind] = {
        FULL: sizes.attention(sizes.rope(config, theta=1e6), qk_norm=QkNorm.PER_HEAD),
        _CONV: conv,
    }
    return by_type(config, kinds, known)


_IGNORABLE = {
    "block_mlp_init_scale": "acts in training only",
    "block_multiple_of": "read where block_auto_adjust_ff_dim is on, without effect elsewhere",
    "block_ffn_dim_multiplier": "read where block_auto_adjust_ff_dim is on, without effect elsewhere",
    "block_norm_eps": "says again what norm_eps says",
    "block_out_init_scale": "acts in training only",
    "block_use_swiglu": "every layer of every published model is gated",
    "block_use_xavier_init": "acts in training only",
    "conv_dim": "says again what hidden_size says",
    "conv_dim_out": "says again what hidden_size says",
    "conv_use_xavier_init": "acts in training only",
    "num_heads": "says again what num_attention_heads says",
    "theta": "says again what rope_theta says",
    "use_pos_enc": "layers with attention rotate in every published model",
}

_HF_NAMES = replace(
    HF_NAMES,
    top={**HF_NAMES.top, "norm": "model.embedding_norm.weight"},
    layer={
        **HF_NAMES.layer,
        "attention_norm": "operator_norm.weight",
        "attention.o": "self_attn.out_proj.weight",
        "attention.q_norm": "self_attn.q_layernorm.weight",
        "attention.k_norm": "self_attn.k_layernorm.weight",
        "mlp_norm": "ffn_norm.weight",
        "mlp.gate": "feed_forward.w1.weight",
        "mlp.up": "feed_forward.w3.weight",
        "mlp.down": "feed_forward.w2.weight",
    },
    kinds={
        "short_conv": {
            "attention.in": "conv.in_proj.weight",
            "attention.conv": "conv.conv.weight",
            "attention.o": "conv.out_proj.weight",
            "attention.in_bias": "conv.in_proj.bias",
            "attention.conv_bias": "conv.conv.bias",
            "attention.o_bias": "conv.out_proj.bias",
        }
    },
)

FAMILIES.register("lfm2")(
    Family(
        name="lfm2",
        architectures=("Lfm2ForCausalLM", "LFM2ForCausalLM", "lfm2"),
        runs=True,
        reader=read,
        ignorable=_IGNORABLE,
        hf_names=_HF_NAMES,
    )
)
FAMILIES.register("lfm2_moe")(
    Family(
        name="lfm2_moe",
        architectures=("Lfm2MoeForCausalLM", "lfm2_moe"),
        reader=read_moe,
        ignorable={**ROUTING, **_IGNORABLE},
    )
)
