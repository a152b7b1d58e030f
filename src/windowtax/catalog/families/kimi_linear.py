"""Kimi Linear (Kimi team 2025, arXiv 2510.26692): three layers of Kimi delta attention to one of latent attention
without positions. Layers are counted from 1 in `full_attn_layers` and `kda_layers`."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, paired, read_latent
from windowtax.catalog.sizes import Sizes, read_sizes, state_element
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.mlp import ExpertsMlp, Mlp
from windowtax.spec.model import ModelSpec

_LONGEST = "model_max_length"


def read(config: StrictConfig) -> ModelSpec:
    """`linear_attn_config` says which layers are which, and their heads."""
    longest = config.take_optional(_LONGEST, int)
    sizes = read_sizes(config, {"max_position_embeddings": longest} if longest else None)
    config.expect("mla_use_nope", True)
    config.expect("num_nextn_predict_layers", 0)
    config.expect("mla_use_output_gate", False)
    inner = StrictConfig(optional_dict(config, "linear_attn_config") or {}, f"{config.source}, linear_attn_config")
    delta = KimiDelta(
        num_heads=inner.take("num_heads", int),
        head_dim=inner.take("head_dim", int),
        conv_kernel=inner.take("short_conv_kernel_size", int),
        gate_rank=inner.take("head_dim", int),
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
    latent = read_latent(config, sizes, rotates=False)
    full = _positions(inner, "full_attn_layers")
    linear = _positions(inner, "kda_layers")
    if sorted(full | linear) != list(range(1, sizes.num_layers + 1)) or full & linear:
        raise BadInput(
            f"{config.source}: 'full_attn_layers' and 'kda_layers' must name "
            f"each of the layers 1 to {sizes.num_layers} once."
        )
    inner.finish()
    attention: list[AttentionKind] = [latent if i + 1 in full else delta for i in range(sizes.num_layers)]
    return replace(sizes.model("kimi_linear", paired(attention, _mlps(config, sizes))))


def _positions(config: StrictConfig, key: str) -> set[int]:
    return set(optional_list(config, key) or [])


def _mlps(config: StrictConfig, sizes: Sizes) -> list[Mlp]:
    width = config.take("moe_intermediate_size", int)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_token", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("num_shared_experts", int, 0),
        router_bias=True,
    )
    first, every = config.take("first_k_dense_replace", int, 1), config.take("moe_layer_freq", int, 1)
    return [experts if i >= first and i % every == 0 else sizes.mlp for i in range(sizes.num_layers)]


_NOWHERE = "of RoPE, which no layer of this model has"

FAMILIES.register("kimi_linear")(
    Family(
        name="kimi_linear",
        architectures=("KimiLinearForCausalLM", "kimi_linear"),
        reader=read,
        parts=("kv_lora_rank",),
        ignorable={
            **ROUTING,
            **LATENT_TRAPS,
            "moe_renormalize": ROUTING["norm_topk_prob"],
            "moe_router_activation_func": ROUTING["scoring_func"],
            "num_expert_group": ROUTING["n_group"],
            "rope_scaling": _NOWHERE,
            "rope_theta": _NOWHERE,
            "use_grouped_topk": ROUTING["topk_method"],
        },
    )
)
