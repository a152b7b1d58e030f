"""MiMo-V2-Flash (Xiaomi 2026): one full layer to five that slide a window of 128 tokens; keys of 192 numbers, values of
128; windowed layers have twice the KV heads and a learned sink logit.

Traps: head_dim is not v_head_dim, and `attention_chunk_size` is no chunked attention in the sense of Llama 4.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.typed import required_list
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope
from windowtax.spec.rope.none import NoScaling


def read(config: StrictConfig) -> ModelSpec:
    """`hybrid_layer_pattern`: 1 for a windowed layer. `moe_layer_freq`: 1 for a layer with experts."""
    sizes = read_sizes(config, norm_eps_key="layernorm_epsilon")
    config.expect("attention_bias", False)
    config.expect("n_shared_experts", 0)
    attention = _attention(config, sizes)
    experts = ExpertsMlp(
        num_experts=config.take("n_routed_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation=sizes.activation,
        router_bias=True,
    )
    windowed = required_list(config, "hybrid_layer_pattern", sizes.num_layers)
    routed = required_list(config, "moe_layer_freq", sizes.num_layers)
    return sizes.model(
        "mimo_v2",
        [
            LayerSpec(attention=attention[bool(slides)], mlp=experts if has_experts else sizes.mlp)
            for slides, has_experts in zip(windowed, routed, strict=True)
        ],
    )


def _attention(config: StrictConfig, sizes: Sizes) -> dict[bool, SoftmaxAttention]:
    """By whether it slides."""
    rope = sizes.rope(config)
    full = replace(
        sizes.attention(rope),
        v_head_dim=config.take("v_head_dim", int),
        sink_logits=config.take("add_full_attention_sink_bias", bool, False),
    )
    local = replace(
        full,
        num_query_heads=config.take("swa_num_attention_heads", int),
        num_kv_heads=config.take("swa_num_key_value_heads", int),
        head_dim=config.take("swa_head_dim", int),
        v_head_dim=config.take("swa_v_head_dim", int),
        rope=Rope(config.take("swa_rope_theta", float), rope.rotary_dim, NoScaling()),
        sink_logits=config.take("add_swa_attention_sink_bias", bool, False),
    )
    window = config.take("sliding_window", int)
    config.expect("sliding_window_size", window)
    return {False: full, True: sizes.windowed(local, window)}


FAMILIES.register("mimo_v2")(
    Family(
        name="mimo_v2",
        architectures=("MiMoV2FlashForCausalLM", "mimo_v2_flash"),
        reader=read,
        ignorable={
            **ROUTING,
            "attention_chunk_size": "repeats the window; no layer of this model is chunked",
            "attention_value_scale": "a factor on the values: logits only, and this family is planned, not run",
        },
    )
)
