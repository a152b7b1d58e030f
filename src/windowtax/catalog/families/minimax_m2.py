"""MiniMax M2 to M2.7 (MiniMax 2025): full attention on every layer, RMS norm over all heads at once on q and k, RoPE on
a part of each head, 256 experts. Not MiniMax-Text-01, whose layers are mostly linear attention."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """`rotary_dim` says in dimensions what other configs say as partial_rotary_factor."""
    sizes = read_sizes(config)
    config.expect("use_qk_norm", True)
    config.expect("qk_norm_type", "per_layer")
    config.expect("shared_intermediate_size", 0)
    config.expect("sliding_window")
    if set(optional_list(config, "attn_type_list") or [1]) != {1}:
        config.expect("attn_type_list", [1] * sizes.num_layers)
    rope = sizes.rope(config, theta=5e6, share=config.take("rotary_dim", int, sizes.head_dim) / sizes.head_dim)
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
        router_bias=config.take("use_routing_bias", bool, True),
    )
    layer = LayerSpec(attention=sizes.attention(rope, qk_norm=QkNorm.WHOLE), mlp=experts)
    return sizes.model("minimax_m2", [layer] * sizes.num_layers)


FAMILIES.register("minimax_m2")(
    Family(
        name="minimax_m2",
        architectures=("MiniMaxM2ForCausalLM", "minimax_m2"),
        reader=read,
        ignorable={**ROUTING, **PREDICTION_LAYERS},
    )
)
