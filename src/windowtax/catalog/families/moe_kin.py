"""Decoders with DeepSeek's experts and plain grouped queries: dots.llm1, Solar Open, Hy3, Trinity, DeepSeekMoE.

rednote 2025, arXiv 2506.05767; Upstage 2026; Tencent 2026; Arcee 2025; DeepSeek-AI 2024, arXiv 2401.06066.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.latent import read_experts, routed_layers
from windowtax.catalog.layer_types import every
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import full_or_sliding, some, stack
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec, NormPlacement

_TOPK = {key: reason for key, reason in ROUTING.items() if key != "topk_method"}


def read_dots1(config: StrictConfig) -> ModelSpec:
    """`sliding_window` counts only for layers that `layer_types` lets slide: none in published models."""
    sizes = read_sizes(config)
    attention = full_or_sliding(config, sizes, _attention(config, sizes, norm=QkNorm.PER_HEAD))
    return stack("dots1", sizes, attention, read_experts(config, sizes, router_bias=True))


def read_solar(config: StrictConfig) -> ModelSpec:
    """No dense layers."""
    sizes = read_sizes(config, intermediate_size=config.take("intermediate_size", int, 0))
    config.expect("first_k_dense_replace", 0)
    config.expect("use_qk_norm", False)
    return stack("solar_open", sizes, _attention(config, sizes), read_experts(config, sizes, router_bias=True))


def read_hy3(config: StrictConfig) -> ModelSpec:
    """The first layers are dense, as `mlp_layer_types` or `first_k_dense_replace` says."""
    sizes = read_sizes(config)
    config.expect("mlp_bias", False)
    config.expect("qk_norm", True)
    width = config.take("moe_intermediate_size", int)
    config.expect("expert_hidden_dim", width)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("num_shared_experts", int, 0),
        router_bias=True,
    )
    mlps = some(routed_layers(config, sizes.num_layers), experts, sizes.mlp)
    return stack("hy_v3", sizes, _attention(config, sizes, norm=QkNorm.PER_HEAD), mlps)


def read_trinity(config: StrictConfig) -> ModelSpec:
    """Three windowed layers with RoPE to a full one without; norms around both parts; gated heads."""
    sizes = read_sizes(config)
    width = config.take("moe_intermediate_size", int)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("num_shared_experts", int, 0),
        router_bias=True,
    )
    dense = config.take("num_dense_layers", int)
    local = replace(_attention(config, sizes, norm=QkNorm.PER_HEAD), output_gate=True)
    pattern = every(config.take("global_attn_every_n_layers", int, 4), sizes.num_layers)
    attention = full_or_sliding(config, sizes, replace(local, rope=None), pattern, local)
    mlps = some([index >= dense for index in range(sizes.num_layers)], experts, sizes.mlp)
    return stack("afmoe", sizes, attention, mlps, NormPlacement.SANDWICH)


def read_deepseek_moe(config: StrictConfig) -> ModelSpec:
    """DeepSeekMoE 16B: before latent attention."""
    sizes = read_sizes(config)
    return stack("deepseek_moe", sizes, _attention(config, sizes), read_experts(config, sizes))


def _attention(config: StrictConfig, sizes: Sizes, norm: QkNorm = QkNorm.NONE) -> FullAttention:
    bias = config.take("attention_bias", bool, False)
    return replace(sizes.attention(sizes.rope(config), qkv_bias=bias, qk_norm=norm), output_bias=bias)


FAMILIES.register("dots1")(
    Family(
        name="dots1",
        architectures=("Dots1ForCausalLM", "dots1"),
        reader=read_dots1,
        ignorable={**_TOPK, "max_window_layers": "counts layers of a window; layer_types names them one by one"},
    )
)
FAMILIES.register("solar_open")(
    Family(
        name="solar_open",
        architectures=("SolarOpenForCausalLM", "solar_open"),
        reader=read_solar,
        ignorable=_TOPK,
    )
)
FAMILIES.register("hy_v3")(
    Family(
        name="hy_v3",
        architectures=("HYV3ForCausalLM", "HyV3ForCausalLM", "hy_v3"),
        reader=read_hy3,
        ignorable={
            **_TOPK,
            **PREDICTION_LAYERS,
            "enable_attention_fp32_softmax": "the type of sums: logits only, and this family is planned, not run",
            "enable_lm_head_fp32": "the type of sums: logits only, and this family is planned, not run",
            "enable_moe_fp32_combine": "the type of sums: logits only, and this family is planned, not run",
            "moe_router_enable_expert_bias": "every checkpoint has the bias, and it is counted",
            "moe_router_use_sigmoid": ROUTING["scoring_func"],
            "route_norm": ROUTING["norm_topk_prob"],
            "router_scaling_factor": ROUTING["routed_scaling_factor"],
        },
    )
)
FAMILIES.register("afmoe")(
    Family(
        name="afmoe",
        architectures=("AfmoeForCausalLM", "afmoe"),
        reader=read_trinity,
        ignorable={
            **_TOPK,
            "load_balance_coeff": "acts in training only",
            "mup_enabled": "a factor on embeddings: logits only, and this family is planned, not run",
            "num_expert_groups": ROUTING["n_group"],
            "num_limited_groups": ROUTING["topk_group"],
            "route_norm": ROUTING["norm_topk_prob"],
            "route_scale": ROUTING["routed_scaling_factor"],
            "score_func": ROUTING["scoring_func"],
            "use_grouped_mm": "which kernel computes the experts; all compute the same",
        },
    )
)
FAMILIES.register("deepseek_moe")(
    Family(
        name="deepseek_moe",
        architectures=("DeepseekForCausalLM", "deepseek"),
        reader=read_deepseek_moe,
        ignorable=_TOPK,
    )
)
