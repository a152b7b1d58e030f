"""Hunyuan dense (0.5B to 7B) and Hunyuan-A13B (Tencent 2025): RMS norm per head on q and k, dynamic NTK RoPE."""

from dataclasses import replace
from typing import Any, cast

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import stack
from windowtax.catalog.typed import optional_dict
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec
from windowtax.spec.rope import Rope
from windowtax.spec.rope.none import NoScaling

_OF_MLA = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
"""Written as null beside use_mla."""


def read(config: StrictConfig) -> ModelSpec:
    """Dense."""
    sizes = read_sizes(config)
    config.expect("mlp_bias", False)
    return stack("hunyuan", sizes, _attention(config, sizes), sizes.mlp)


def read_moe(config: StrictConfig) -> ModelSpec:
    """A number, or one for each layer, all alike in published models; other lists are refused."""
    sizes = read_sizes(config)
    config.expect("mlp_bias", False)
    width = _one(config, "moe_intermediate_size", sizes.num_layers, sizes.intermediate_size)
    experts = ExpertsMlp(
        num_experts=_one(config, "num_experts", sizes.num_layers),
        top_k=_one(config, "moe_topk", sizes.num_layers),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=sizes.intermediate_size * _one(config, "num_shared_expert", sizes.num_layers, 1),
    )
    return stack("hunyuan_moe", sizes, _attention(config, sizes), experts)


def _attention(config: StrictConfig, sizes: Sizes) -> FullAttention:
    """`use_cla` lets layers share caches (Hunyuan-Large): refused where it is on."""
    config.expect("use_cla", False)
    config.expect("use_mla", False)
    for key in _OF_MLA:
        config.expect(key)
    config.expect("use_qk_norm", True)
    config.expect("attention_head_dim", sizes.head_dim)
    bias = config.take("attention_bias", bool, False)
    return replace(sizes.attention(_rope(config, sizes), qkv_bias=bias, qk_norm=QkNorm.PER_HEAD), output_bias=bias)


def _rope(config: StrictConfig, sizes: Sizes) -> Rope:
    """Dynamic scaling with an `alpha` is a larger base at every length: theta * alpha ** (D / (D - 2))."""
    given = optional_dict(config, "rope_scaling") or optional_dict(config, "rope_parameters") or {}
    alpha = given.get("alpha")
    if not alpha:
        return sizes.rope(config)
    kind = given.get("rope_type") or given.get("type")
    if kind != "dynamic":
        raise UnsupportedModel(f"{config.source}: RoPE 'alpha' stands beside the type {kind!r}; 'dynamic' is known.")
    theta = config.take("rope_theta", float, float(given.get("rope_theta") or 1e4))
    return Rope(theta * float(alpha) ** (sizes.head_dim / (sizes.head_dim - 2)), sizes.head_dim, NoScaling())


def _one(config: StrictConfig, key: str, num_layers: int, default: int | None = None) -> int:
    value = config.take_optional(key, object)
    values = cast("list[Any]", value) if isinstance(value, list) else [default if value is None else value]
    if len(values) not in (1, num_layers) or len(set(values)) != 1 or not isinstance(values[0], int):
        raise UnsupportedModel(f"{config.source}: {key!r} is {value!r}; one number for all layers is known here.")
    return values[0]


_IGNORABLE = {
    "add_classification_head": "a head beside the language model's",
    "cla_share_factor": "without effect while use_cla is false, and no other value of that is accepted",
    "class_num": "of a head beside the language model's",
    "dense_list": "of a head beside the language model's",
    "eod_token_id": "names a token; the engine reads it from the tokenizer's files",
    "im_end_id": "names a token; the engine reads it from the tokenizer's files",
    "im_newline_id": "names a token; the engine reads it from the tokenizer's files",
    "im_start_id": "names a token; the engine reads it from the tokenizer's files",
    "mask_init_id": "names a token; the engine reads it from the tokenizer's files",
    "norm_type": "every checkpoint has RMS norms; a norm is counted as one vector",
    "org_vocab_size": "the vocabulary before padding; vocab_size is read",
    "pad_id": "names a token; the engine reads it from the tokenizer's files",
    "pool_type": "of a head beside the language model's",
    "sep_token_id": "names a token; the engine reads it from the tokenizer's files",
    "text_end_id": "names a token; the engine reads it from the tokenizer's files",
    "text_start_id": "names a token; the engine reads it from the tokenizer's files",
    "use_rotary_pos_emb": "every checkpoint of this architecture rotates",
}

FAMILIES.register("hunyuan")(
    Family(
        name="hunyuan",
        architectures=("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense"),
        reader=read,
        ignorable=_IGNORABLE,
    )
)
FAMILIES.register("hunyuan_moe")(
    Family(
        name="hunyuan_moe",
        architectures=("HunYuanMoEV1ForCausalLM", "hunyuan_v1_moe"),
        reader=read_moe,
        ignorable={
            **ROUTING,
            **_IGNORABLE,
            "group_limited_greedy": ROUTING["topk_method"],
            "capacity_factor": "acts in training only",
            "moe_drop_tokens": "acts in training only",
            "moe_layer_num_skipped": "no layer is skipped in published models of this architecture",
            "moe_random_routing_dropped_token": "acts in training only",
            "use_mixed_mlp_moe": "the shared part beside experts, which is read from num_shared_expert",
        },
    )
)
