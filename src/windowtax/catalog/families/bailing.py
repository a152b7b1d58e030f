"""Ling and Ring (inclusionAI 2025 and 2026, arXiv 2503.05139, 2510.22115): grouped queries and experts beside a shared
one; from Ling 3 on, Kimi delta attention with one layer of latent attention to a few."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, draft_layers, read_latent, routed_layers
from windowtax.catalog.layer_types import FULL, LINEAR, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes, state_element
from windowtax.catalog.stack import some, stack
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp, Mlp
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """Version 2 writes `use_qk_norm` and a bias of the router; version 1 has neither."""
    sizes = read_sizes(config)
    config.expect("use_sliding_window", False)
    config.expect("norm_head", False)
    share = config.take("rotary_dim", int, sizes.head_dim) / sizes.head_dim
    norm = QkNorm.PER_HEAD if config.take("use_qk_norm", bool, False) else QkNorm.NONE
    attention = sizes.attention(
        sizes.rope(config, share=share), qkv_bias=config.take("use_qkv_bias", bool, False), qk_norm=norm
    )
    attention = replace(attention, output_bias=config.take("use_bias", bool, False))
    biased = config.take("moe_router_enable_expert_bias", bool, False)
    return stack("bailing_moe", sizes, attention, _experts(config, sizes, "num_experts_per_tok", router_bias=biased))


def read_hybrid(config: StrictConfig) -> ModelSpec:
    """The last layer of every `layer_group_size` keeps latent rows; its heads are gated, one number each."""
    longest = config.take_optional("model_max_length", int)
    sizes = read_sizes(config, {"max_position_embeddings": longest} if longest else None)
    config.expect("kda_safe_gate", True)
    heads, width = config.take("linear_num_heads", int, sizes.num_query_heads), config.take("linear_head_dim", int)
    kernel = config.take("linear_conv_kernel_dim", int, config.take("short_conv_kernel_size", int, 4))
    delta = KimiDelta(
        num_heads=heads,
        head_dim=width,
        conv_kernel=kernel,
        gate_rank=None,
        whole_decay=True,
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
    group = config.take("layer_group_size", int)
    kinds = read_layer_types(config, sizes.num_layers) or every(group, sizes.num_layers, LINEAR)
    latent = replace(read_latent(config, sizes), gate_rows=sizes.num_query_heads)
    known: dict[str, AttentionKind] = {FULL: latent, LINEAR: delta}
    mlps = _experts(config, sizes, "num_experts_per_token", router_bias=True)
    spec = stack("bailing_hybrid", sizes, by_type(config, kinds, known), mlps)
    last = replace(spec.layers[-1], attention=latent)
    return replace(spec, draft_layers=draft_layers(config, "num_nextn_predict_layers", last, sizes.hidden_size))


def _experts(config: StrictConfig, sizes: Sizes, top_k: str, *, router_bias: bool) -> list[Mlp]:
    width = config.take("moe_intermediate_size", int)
    shared = config.take("moe_shared_expert_intermediate_size", int, width) * config.take("num_shared_experts", int, 0)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take(top_k, int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=shared,
        router_bias=router_bias,
    )
    return some(routed_layers(config, sizes.num_layers), experts, sizes.mlp)


_TRAINING = "acts in training only"
_TYPES = "the type of sums: logits only, and this family is planned, not run"

FAMILIES.register("bailing_moe")(
    Family(
        name="bailing_moe",
        architectures=("BailingMoeForCausalLM", "BailingMoeV2ForCausalLM", "bailing_moe", "bailing_moe_v2"),
        reader=read,
        ignorable={
            **ROUTING,
            **PREDICTION_LAYERS,
            "embedding_dropout": _TRAINING,
            "max_window_layers": "without effect while use_sliding_window is false, and no other value is accepted",
            "moe_router_topk_scaling_factor": ROUTING["routed_scaling_factor"],
            "mtp_loss_scaling_factor": _TRAINING,
            "multi_gate": "of routers for images, which the decoder of text has not",
            "norm_softmax": _TYPES,
            "output_dropout": _TRAINING,
            "router_dtype": _TYPES,
            "score_function": ROUTING["scoring_func"],
            "sliding_window": "without effect while use_sliding_window is false, and no other value is accepted",
            "use_rmsnorm": "every checkpoint has RMS norms; a norm is counted as one vector",
        },
    )
)
FAMILIES.register("bailing_hybrid")(
    Family(
        name="bailing_hybrid",
        architectures=("BailingHybridForCausalLM", "bailing_hybrid"),
        reader=read_hybrid,
        ignorable={
            **ROUTING,
            **LATENT_TRAPS,
            "kda_lower_bound": "bounds the decay: logits only, and this family is planned, not run",
            "moe_renormalize": ROUTING["norm_topk_prob"],
            "mtp_loss_scaling_factor": _TRAINING,
            "num_expert_group": ROUTING["n_group"],
        },
        parts=("kv_lora_rank",),
    )
)
