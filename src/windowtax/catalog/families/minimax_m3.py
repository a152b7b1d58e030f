"""MiniMax-M3 (MiniMax 2026): three dense layers of full attention, then block-sparse attention with an index and
experts beside a shared one."""

from dataclasses import fields
from typing import Any

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.latent import routed_layers
from windowtax.catalog.layer_types import FULL, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes, planned_activation, read_sizes
from windowtax.catalog.stack import some, stack
from windowtax.catalog.typed import optional_dict, optional_list, required_list
from windowtax.spec.attention.block_index import BlockIndexAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp, GatedMlp
from windowtax.spec.model import ModelSpec

_SPARSE = "minimax_m3_sparse"
_INDEX = {
    "index_n_heads": "sparse_num_index_heads",
    "index_head_dim": "sparse_index_dim",
    "index_block_size": "sparse_block_size",
    "index_topk_blocks": "sparse_topk_blocks",
}
"""Keys of transformers' config, and of the authors' `sparse_attention_config`."""


def read(config: StrictConfig) -> ModelSpec:
    """`rotary_dim` says in dimensions what partial_rotary_factor says as a share."""
    sizes = read_sizes(config, activation=planned_activation(config))
    config.expect("use_qk_norm", True)
    config.expect("qk_norm_type", "per_head")
    config.expect("attention_output_gate", False)
    width = config.take("intermediate_size", int)
    config.expect("moe_intermediate_size", width)
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=config.take("shared_intermediate_size", int) * config.take("n_shared_experts", int, 1),
        router_bias=config.take("use_routing_bias", bool, True),
    )
    dense = GatedMlp(intermediate_size=config.take("dense_intermediate_size", int), activation=sizes.activation)
    mlps = some(routed_layers(config, sizes.num_layers), experts, dense)
    return stack("minimax_m3", sizes, _attention(config, sizes), mlps)


def _attention(config: StrictConfig, sizes: Sizes) -> list[SoftmaxAttention]:
    share = config.take("rotary_dim", int, sizes.head_dim) / sizes.head_dim
    full = sizes.attention(sizes.rope(config, theta=5e6, share=share), qk_norm=QkNorm.PER_HEAD)
    theirs = StrictConfig(optional_dict(config, "sparse_attention_config") or {}, f"{config.source}, sparse attention")
    index = {ours: theirs.take_optional(old, int) or config.take(ours, int) for ours, old in _INDEX.items()}
    for key in _INDEX:
        config.take_optional(key, int)
    kinds = read_layer_types(config, sizes.num_layers) or _flagged(theirs, sizes.num_layers)
    _expect_details(theirs)
    return by_type(config, kinds, {FULL: full, _SPARSE: _sparse(full, index)})


def _sparse(full: FullAttention, index: dict[str, int]) -> BlockIndexAttention:
    dressing: dict[str, Any] = {field.name: getattr(full, field.name) for field in fields(SoftmaxAttention)}
    return BlockIndexAttention(
        **dressing,
        block_tokens=index["index_block_size"],
        top_k_blocks=index["index_topk_blocks"],
        index_heads=index["index_n_heads"],
        index_dim=index["index_head_dim"],
    )


def _flagged(theirs: StrictConfig, num_layers: int) -> list[str]:
    return [_SPARSE if flag else FULL for flag in required_list(theirs, "sparse_attention_freq", num_layers)]


def _expect_details(theirs: StrictConfig) -> None:
    """An index of values of its own would be kept too: none of the published layers that are sparse has one."""
    flags = optional_list(theirs, "sparse_attention_freq")
    if flags is not None:
        theirs.expect("sparse_disable_index_value", flags)
    theirs.expect("use_sparse_attention", True)
    theirs.ignore(
        {
            "sparse_init_block": "which block is chosen first; how many are read stays the same",
            "sparse_local_block": "which blocks are always chosen; how many are read stays the same",
            "sparse_score_type": "how a block's score comes of its tokens'; nothing of it is kept",
        }
    )
    theirs.finish()


_CLAMP = "shapes the experts' activation: logits only, and this family is planned, not run"

FAMILIES.register("minimax_m3")(
    Family(
        name="minimax_m3",
        architectures=(
            "MiniMaxM3ForCausalLM",
            "MiniMaxM3SparseForCausalLM",
            "MiniMaxM3VLForCausalLM",
            "MiniMaxM3SparseForConditionalGeneration",
            "minimax_m3",
            "minimax_m3_vl",
            "minimax_m3_vl_text",
        ),
        reader=read,
        ignorable={
            **ROUTING,
            **PREDICTION_LAYERS,
            "index_local_blocks": "which blocks are always chosen; how many are read stays the same",
            "swiglu_alpha": _CLAMP,
            "swiglu_limit": _CLAMP,
            "use_gemma_norm": "norms multiply by 1 + weight: logits only, and this family is planned, not run",
        },
    )
)
