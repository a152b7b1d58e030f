"""Decoders with DeepSeek's latent attention under names of their own: GLM-4.7-Flash, Mistral 4, Youtu-LLM, MiniCPM3.

Zhipu 2026; Mistral AI 2026; Tencent 2025, arXiv 2512.24618; OpenBMB 2024. The last two have no experts.
"""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, read_experts, read_latent
from windowtax.catalog.mistral_rope import MISTRAL_ROPE
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack
from windowtax.spec.model import ModelSpec

_FACTOR = "a factor on embeddings, residuals or logits: this family is planned, not run"


def read_glm4_moe_lite(config: StrictConfig) -> ModelSpec:
    """The router's bias is in every checkpoint, named in no config."""
    sizes = read_sizes(config)
    return stack("glm4_moe_lite", sizes, read_latent(config, sizes), read_experts(config, sizes, router_bias=True))


def read_mistral4(config: StrictConfig) -> ModelSpec:
    """Experts on every layer, routers without a bias."""
    sizes = read_sizes(config)
    latent = read_latent(config, sizes, ignore=MISTRAL_ROPE)
    return stack("mistral4", sizes, latent, read_experts(config, sizes, router_bias=False))


def read_youtu(config: StrictConfig) -> ModelSpec:
    """Dense, embeddings tied."""
    sizes = read_sizes(config, {"tie_word_embeddings": True})
    config.expect("mlp_bias", False)
    return stack("youtu", sizes, read_latent(config, sizes), sizes.mlp)


def read_minicpm3(config: StrictConfig) -> ModelSpec:
    """Dense, embeddings tied."""
    sizes = read_sizes(config, {"tie_word_embeddings": True})
    config.expect("mlp_bias", False)
    per_head = sizes.hidden_size // sizes.num_query_heads
    return stack("minicpm3", sizes, read_latent(config, sizes, v_head_dim=per_head), sizes.mlp)


FAMILIES.register("glm4_moe_lite")(
    Family(
        name="glm4_moe_lite",
        architectures=("Glm4MoeLiteForCausalLM", "glm4_moe_lite"),
        reader=read_glm4_moe_lite,
        ignorable={**{k: v for k, v in ROUTING.items() if k != "topk_method"}, **LATENT_TRAPS, **PREDICTION_LAYERS},
        parts=("kv_lora_rank",),
    )
)
FAMILIES.register("mistral4")(
    Family(
        name="mistral4",
        architectures=("Mistral4ForCausalLM", "mistral4"),
        reader=read_mistral4,
        ignorable={**ROUTING, **LATENT_TRAPS},
        parts=("kv_lora_rank",),
    )
)
FAMILIES.register("youtu")(
    Family(
        name="youtu",
        architectures=("YoutuForCausalLM", "youtu"),
        reader=read_youtu,
        ignorable={**LATENT_TRAPS, "embedding_initializer_range": "acts in training only"},
        parts=("kv_lora_rank",),
    )
)
FAMILIES.register("minicpm3")(
    Family(
        name="minicpm3",
        architectures=("MiniCPM3ForCausalLM", "minicpm3"),
        reader=read_minicpm3,
        ignorable={**LATENT_TRAPS, **dict.fromkeys(("dim_model_base", "scale_depth", "scale_emb"), _FACTOR)},
        parts=("kv_lora_rank",),
    )
)
