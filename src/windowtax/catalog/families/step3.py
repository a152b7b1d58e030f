"""Step-3.5 and 3.7 Flash (StepFun 2026): one full layer to three that slide a window of 512 tokens with more query
heads; heads gated one by one; experts beside a shared one from the fourth layer on."""

from dataclasses import replace
from typing import Any, cast

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.layer_types import FULL, SLIDING, by_type
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import some, stack
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec
from windowtax.spec.rope import Rope
from windowtax.spec.rope.none import NoScaling

_DEFAULTS = {"rms_norm_eps": 1e-5, "hidden_act": "silu"}


def read(config: StrictConfig) -> ModelSpec:
    """Lists that name the prediction layers too are cut to the decoder's; `moe_layers_enum` may be a string."""
    groups = config.take_optional("num_attention_groups", int)
    sizes = read_sizes(config, {**_DEFAULTS, **({"num_key_value_heads": groups} if groups else {})})
    config.expect("attention_bias", False)
    config.expect("mlp_bias", False)
    config.expect("sink", False)
    config.expect("att_impl_type", "GQA")
    config.expect("use_head_wise_attn_gate", True)
    shared = config.take("share_expert_dim", int, 0) * config.take("n_shared_experts", int, 1)
    experts = ExpertsMlp(
        num_experts=_first(config, "n_routed_experts", "moe_num_experts", "num_experts"),
        top_k=_first(config, "num_experts_per_tok", "moe_top_k"),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation=sizes.activation,
        shared_intermediate_size=shared,
        router_bias=config.take("use_moe_router_bias", bool, True),
    )
    return stack("step3", sizes, _attention(config, sizes), some(_routed(config, sizes), experts, sizes.mlp))


def _first(config: StrictConfig, *names: str) -> int:
    """The value under the first of these names that is there."""
    found = [value for name in names if (value := config.take_optional(name, int)) is not None]
    return found[0] if found else config.take(names[0], int)


def _attention(config: StrictConfig, sizes: Sizes) -> list[SoftmaxAttention]:
    """The base and the rotated share of RoPE may be lists, one entry per layer: no cache depends on them."""
    other = optional_dict(config, "attention_other_setting") or {}
    other_heads = config.take(
        "num_sliding_attention_heads", int, other.get("num_attention_heads", sizes.num_query_heads)
    )
    theta = config.take_optional("rope_theta", object)
    rope = Rope(float(theta) if isinstance(theta, int | float) else 1e4, sizes.head_dim, NoScaling())
    full = replace(sizes.attention(rope, qk_norm=QkNorm.PER_HEAD), head_gate=True)
    local = replace(
        full,
        num_query_heads=other_heads,
        num_kv_heads=other.get("num_attention_groups", sizes.num_kv_heads),
    )
    kinds = (optional_list(config, "layer_types") or [FULL] * sizes.num_layers)[: sizes.num_layers]
    window = config.take_optional("sliding_window", int)
    return by_type(config, kinds, {FULL: full, SLIDING: sizes.windowed(local, window)})


def _routed(config: StrictConfig, sizes: Sizes) -> list[bool]:
    named = optional_list(config, "mlp_layer_types")
    listed = config.take_optional("moe_layers_enum", object)
    first = config.take("first_k_dense_replace", int, 3)
    if named is not None:
        return [kind == "sparse" for kind in named[: sizes.num_layers]]
    if listed is not None:
        entries = listed.split(",") if isinstance(listed, str) else cast("list[Any]", listed)
        chosen = {int(entry) for entry in entries}
        return [index in chosen for index in range(sizes.num_layers)]
    return [index >= first for index in range(sizes.num_layers)]


_CLAMP = "shapes the experts' activation: logits only, and this family is planned, not run"
_TURNS = "of RoPE, layer by layer: logits only, and this family is planned, not run"

FAMILIES.register("step3")(
    Family(
        name="step3",
        architectures=("Step3p5ForCausalLM", "Step3p7ForCausalLM", "Step3p7FlashForCausalLM", "step3p5", "step3p7"),
        reader=read,
        ignorable={
            **ROUTING,
            **PREDICTION_LAYERS,
            "max_seq_len": "says again what max_position_embeddings says",
            "moe_router_activation": ROUTING["scoring_func"],
            "moe_router_scaling_factor": ROUTING["routed_scaling_factor"],
            "mtp_layer_types": PREDICTION_LAYERS["num_nextn_predict_layers"],
            "mtp_mlp_layer_types": PREDICTION_LAYERS["num_nextn_predict_layers"],
            "need_fp32_gate": "the type of sums: logits only, and this family is planned, not run",
            "norm_expert_weight": ROUTING["norm_topk_prob"],
            "partial_rotary_factors": _TURNS,
            "per_layer_config": "repeats num_sliding_attention_heads, layer by layer",
            "query_pre_attn_scalar": "a factor on scores: logits only, and this family is planned, not run",
            "rope_parameters": _TURNS,
            "rope_scaling": _TURNS,
            "swiglu_limits": _CLAMP,
            "swiglu_limits_shared": _CLAMP,
            "use_qk_norm": "every checkpoint of this architecture normalises queries and keys",
            "use_rope_layers": _TURNS,
            "yarn_only_types": _TURNS,
            "zero_centered": "norms multiply by 1 + weight: logits only, and this family is planned, not run",
        },
    )
)
