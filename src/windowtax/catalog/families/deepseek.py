"""DeepSeek-V2, V3, R1 and V3.2, Kimi K2, and GLM-5: latent attention, experts beside a shared one.

DeepSeek-AI 2024 and 2025, arXiv 2405.04434, 2412.19437, 2512.02556; Kimi team 2025, arXiv 2507.20534. V3.2 and GLM-5
read by a sparse index; GLM-5.2 computes it on some layers only, and the others take the choice of the layer before.
"""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, draft_layers, paired, read_experts, read_latent
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.dsa import SparseLatentAttention
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.model import ModelSpec

_SPARSE_WORDS = {"deepseek_sparse_attention", "indexed_attention"}
_DRAFTS = "num_nextn_predict_layers"


def read(config: StrictConfig) -> ModelSpec:
    """Without an index: V2, V3, R1, Kimi K2."""
    sizes = read_sizes(config)
    latent = read_latent(config, sizes)
    return _model(config, sizes, "deepseek", [latent] * sizes.num_layers)


def read_sparse(config: StrictConfig) -> ModelSpec:
    """With one: V3.2 and GLM-5."""
    sizes = read_sizes(config)
    latent = read_latent(config, sizes)
    if latent.q_lora_rank is None:
        raise BadInput(f"{config.source}: an index takes its queries from 'q_lora_rank', which is missing.")
    indexer = Indexer(
        num_heads=config.take("index_n_heads", int),
        head_dim=config.take("index_head_dim", int),
        query_rank=latent.q_lora_rank,
    )
    top_k = config.take("index_topk", int)
    config.expect("mlp_bias", False)
    config.expect("num_experts", config.take("n_routed_experts", int))
    if set(optional_list(config, "layer_types") or []) - _SPARSE_WORDS:
        config.expect("layer_types", *([word] * sizes.num_layers for word in sorted(_SPARSE_WORDS)))
    own = _own_index(config, sizes.num_layers)
    attention: list[AttentionKind] = [_sparse(latent, top_k, indexer if has_index else None) for has_index in own]
    return _model(config, sizes, "deepseek_sparse", attention)


def _sparse(latent: LatentAttention, top_k: int, indexer: Indexer | None) -> SparseLatentAttention:
    return SparseLatentAttention(
        num_query_heads=latent.num_query_heads,
        kv_lora_rank=latent.kv_lora_rank,
        qk_nope_head_dim=latent.qk_nope_head_dim,
        qk_rope_head_dim=latent.qk_rope_head_dim,
        v_head_dim=latent.v_head_dim,
        q_lora_rank=latent.q_lora_rank,
        rope=latent.rope,
        bias=latent.bias,
        top_k=top_k,
        indexer=indexer,
    )


def _own_index(config: StrictConfig, num_layers: int) -> list[bool]:
    """Which layers have an index: named one by one, by a pattern of F and S, or every so many layers behind an
    offset."""
    kinds = optional_list(config, "indexer_types")
    pattern = config.take_optional("index_topk_pattern", object)
    every = max(1, config.take("index_topk_freq", int, 1))
    offset = config.take("index_skip_topk_offset", int, 2)
    if kinds is None and pattern is not None:
        listed = list(pattern) if isinstance(pattern, str) else optional_list(config, "index_topk_pattern")
        kinds = [{"F": "full", "S": "shared"}.get(kind, kind) for kind in listed or []]
    if kinds is None:
        return [max(index - offset + 1, 0) % every == 0 for index in range(num_layers)]
    if len(kinds) != num_layers or set(kinds) - {"full", "shared"} or kinds[0] != "full":
        raise BadInput(
            f"{config.source}: the kinds of index must be full or shared for each of {num_layers} layers, "
            "and the first full."
        )
    return [kind == "full" for kind in kinds]


def _model(config: StrictConfig, sizes: Sizes, family: str, attention: list[AttentionKind]) -> ModelSpec:
    layers = paired(attention, read_experts(config, sizes))
    last = layers[-1]
    first_kind = replace(last, attention=attention[0])
    return replace(
        sizes.model(family, layers), draft_layers=draft_layers(config, _DRAFTS, first_kind, sizes.hidden_size)
    )


_COMMON = {
    **{key: reason for key, reason in ROUTING.items() if key != "topk_method"},
    **LATENT_TRAPS,
    "index_share_for_mtp_iteration": "prediction layers take one choice for all their steps; what is kept is the same",
    "moe_router_dtype": "the type that routers compute in; their weights are counted with the checkpoint",
}

FAMILIES.register("deepseek")(
    Family(
        name="deepseek",
        architectures=(
            "DeepseekV2ForCausalLM",
            "deepseek_v2",
            "DeepseekV3ForCausalLM",
            "deepseek_v3",
            "kimi_k2",
            "KimiK2ForCausalLM",
            "KimiK25ForConditionalGeneration",
        ),
        reader=read,
        ignorable=_COMMON,
        parts=("kv_lora_rank",),
    )
)

FAMILIES.register("deepseek_sparse")(
    Family(
        name="deepseek_sparse",
        architectures=("DeepseekV32ForCausalLM", "deepseek_v32", "GlmMoeDsaForCausalLM", "glm_moe_dsa"),
        reader=read_sparse,
        ignorable=_COMMON,
        parts=("kv_lora_rank", "index_topk"),
    )
)
