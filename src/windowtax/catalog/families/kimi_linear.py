"""Kimi Linear and Kimi K3 (Kimi team 2025 and 2026, arXiv 2510.26692, 2607.24653): three layers of Kimi delta attention
to one of latent attention without positions. Layers are counted from 1 in `full_attn_layers` and `kda_layers`.

K3 gates the heads of its latent attention, has experts in a narrower space, and mixes the residuals of earlier blocks
into every part (attention residuals), which takes activations and no cache.
"""

from dataclasses import replace
from typing import Any

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, paired, read_latent, routed_layers
from windowtax.catalog.layer_types import FULL, LINEAR, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes, planned_activation, read_sizes, state_element
from windowtax.catalog.stack import some
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.none import NoAttention
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.weights import Weight

_LONGEST = "model_max_length"


def read(config: StrictConfig) -> ModelSpec:
    """Kimi Linear."""
    config.expect("mla_use_output_gate", False)
    config.expect("hidden_act", "silu")
    sizes = _sizes(config)
    return _model(config, sizes, "kimi_linear", read_latent(config, sizes, rotates=False), _experts(config, sizes))


def read_k3(config: StrictConfig) -> ModelSpec:
    """Kimi K3: one norm and one vector for each mixing of residuals, two per layer and one before the head."""
    config.expect("mla_use_output_gate", True)
    sizes = _sizes(config)
    latent = read_latent(config, sizes, rotates=False)
    latent = replace(latent, gate_rows=latent.num_query_heads * latent.v_head_dim)
    width = config.take("routed_expert_hidden_size", int)
    experts = replace(_experts(config, sizes), latent_size=width)
    spec = _model(config, sizes, "kimi_k3", latent, experts)
    normed = config.take("latent_moe_use_norm", bool, False)
    if config.take_optional("attn_res_block_size", int) is None:
        raise UnsupportedModel(f"{config.source}: 'attn_res_block_size' is missing, which every Kimi K3 has.")
    return replace(
        spec,
        layers=tuple(_with_residuals(layer, sizes.hidden_size, width if normed else 0) for layer in spec.layers),
        extra_weights=_residual("output", sizes.hidden_size),
    )


def _sizes(config: StrictConfig) -> Sizes:
    longest = config.take_optional(_LONGEST, int)
    defaults = {"max_position_embeddings": longest} if longest else None
    return read_sizes(config, defaults, activation=planned_activation(config))


def _model(config: StrictConfig, sizes: Sizes, family: str, latent: LatentAttention, experts: ExpertsMlp) -> ModelSpec:
    """`linear_attn_config` says which layers are which, and their heads."""
    config.expect("mla_use_nope", True)
    config.expect("num_nextn_predict_layers", 0)
    inner = StrictConfig(_linear_attention(config, sizes), f"{config.source}, linear_attn_config")
    head_dim = inner.take("head_dim", int)
    delta = KimiDelta(
        num_heads=inner.take("num_heads", int),
        head_dim=head_dim,
        conv_kernel=inner.take("short_conv_kernel_size", int),
        gate_rank=None if inner.take("use_full_rank_gate", bool, False) else head_dim,
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
    inner.ignore({"gate_lower_bound": "bounds the decay: logits only, and this family is planned, not run"})
    full, linear = _positions(inner, "full_attn_layers"), _positions(inner, "kda_layers")
    if sorted(full | linear) != list(range(1, sizes.num_layers + 1)) or full & linear:
        raise BadInput(
            f"{config.source}: 'full_attn_layers' and 'kda_layers' must name "
            f"each of the layers 1 to {sizes.num_layers} once."
        )
    inner.finish()
    attention: list[AttentionKind] = [latent if i + 1 in full else delta for i in range(sizes.num_layers)]
    mlps = some(routed_layers(config, sizes.num_layers), experts, sizes.mlp)
    return sizes.model(family, paired(attention, mlps))


def _linear_attention(config: StrictConfig, sizes: Sizes) -> dict[str, Any]:
    """`linear_attn_config`, or the same out of the words of transformers 5."""
    given = optional_dict(config, "linear_attn_config")
    kinds = read_layer_types(config, sizes.num_layers)
    words = {
        "head_dim": config.take_optional("linear_head_dim", int),
        "num_heads": config.take_optional("linear_num_heads", int),
        "short_conv_kernel_size": config.take_optional("linear_conv_kernel_dim", int),
    }
    if given is not None or kinds is None:
        return given or {}
    by_type(config, kinds, dict.fromkeys((FULL, LINEAR), NoAttention()))
    return {
        **words,
        "full_attn_layers": [index + 1 for index, kind in enumerate(kinds) if kind == FULL],
        "kda_layers": [index + 1 for index, kind in enumerate(kinds) if kind == LINEAR],
    }


def _with_residuals(layer: LayerSpec, hidden_size: int, normed: int) -> LayerSpec:
    beside = (*_residual("attention", hidden_size), *_residual("mlp", hidden_size))
    if normed and isinstance(layer.mlp, ExpertsMlp):
        beside = (*beside, Weight("mlp.latent_norm", (normed,)))
    return replace(layer, extra_weights=beside)


def _residual(part: str, hidden_size: int) -> tuple[Weight, ...]:
    return (Weight(f"{part}_residual_norm", (hidden_size,)), Weight(f"{part}_residual", (1, hidden_size)))


def _positions(config: StrictConfig, key: str) -> set[int]:
    return set(optional_list(config, key) or [])


def _experts(config: StrictConfig, sizes: Sizes) -> ExpertsMlp:
    width = config.take("moe_intermediate_size", int)
    return ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_token", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("num_shared_experts", int, 0),
        router_bias=True,
    )


_NOWHERE = "of RoPE, which no layer of this model has"

_IGNORABLE = {
    **ROUTING,
    **LATENT_TRAPS,
    "moe_renormalize": ROUTING["norm_topk_prob"],
    "moe_router_activation_func": ROUTING["scoring_func"],
    "num_expert_group": ROUTING["n_group"],
    "rope_scaling": _NOWHERE,
    "rope_theta": _NOWHERE,
    "use_grouped_topk": ROUTING["topk_method"],
}
_SHAPE = "shapes the activation: logits only, and this family is planned, not run"

FAMILIES.register("kimi_linear")(
    Family(
        name="kimi_linear",
        architectures=("KimiLinearForCausalLM", "kimi_linear"),
        reader=read,
        parts=("kv_lora_rank",),
        ignorable=_IGNORABLE,
    )
)
FAMILIES.register("kimi_k3")(
    Family(
        name="kimi_k3",
        architectures=("KimiK3ForConditionalGeneration", "kimi_k3"),
        reader=read_k3,
        parts=("kv_lora_rank",),
        ignorable={**_IGNORABLE, "activation_situ_beta": _SHAPE, "activation_situ_linear_beta": _SHAPE},
    )
)
