"""Llama's shapes under other names, and with other words in the config: CWM, InternLM 2 and 3, Baichuan, MiniCPM, Yi.

Meta 2025; Shanghai AI Lab 2024, arXiv 2403.17297; Baichuan 2023, arXiv 2309.10305; OpenBMB 2024, arXiv 2404.06395.
"""

from dataclasses import replace

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import full_or_sliding, stack
from windowtax.spec.model import ModelSpec

_ALIBI_LAYERS = 40


def read_cwm(config: StrictConfig) -> ModelSpec:
    """Full attention on every fourth layer, counted from the first."""
    sizes = read_sizes(config)
    config.expect("mlp_bias", False)
    config.expect("attention_bias", False)
    full = sizes.attention(sizes.rope(config, theta=1e6))
    pattern = [SLIDING if index % 4 else FULL for index in range(sizes.num_layers)]
    return stack("cwm", sizes, full_or_sliding(config, sizes, full, pattern), sizes.mlp)


def read_internlm(config: StrictConfig) -> ModelSpec:
    """`bias` puts one on attention; InternLM 3 has `qkv_bias` beside it."""
    sizes = read_sizes(config)
    bias = config.take("bias", bool, False)
    qkv = config.take("qkv_bias", bool, bias)
    attention = replace(sizes.attention(sizes.rope(config), qkv_bias=qkv), output_bias=bias)
    return stack("internlm", sizes, attention, sizes.mlp)


def read_baichuan(config: StrictConfig) -> ModelSpec:
    """Every head keeps its keys. The 13B models (40 layers) have ALiBi in place of RoPE and no theta in their config;
    the 7B ones rotate."""
    longest = config.take_optional("model_max_length", int)
    sizes = read_sizes(config, {"max_position_embeddings": longest} if longest else None)
    rope = None if sizes.num_layers == _ALIBI_LAYERS else sizes.rope(config)
    return stack("baichuan", sizes, sizes.attention(rope), sizes.mlp)


def read_minicpm(config: StrictConfig) -> ModelSpec:
    """Version 4 reads by blocks beyond `sparse_config`'s length: refused where that is on."""
    sizes = read_sizes(config, {"tie_word_embeddings": True})
    if config.take_optional("sparse_config", dict) is not None:
        raise UnsupportedModel(f"{config.source}: 'sparse_config' (InfLLM v2) is not known here.")
    config.expect("num_experts", 0)
    config.expect("attention_bias", False)
    return stack("minicpm", sizes, sizes.attention(sizes.rope(config)), sizes.mlp)


_FACTOR = "a factor on embeddings, residuals or logits: this family is planned, not run"

FAMILIES.register("cwm")(Family(name="cwm", architectures=("CwmForCausalLM", "cwm"), reader=read_cwm))
FAMILIES.register("internlm")(
    Family(
        name="internlm",
        architectures=("InternLM2ForCausalLM", "internlm2", "InternLM3ForCausalLM", "internlm3"),
        reader=read_internlm,
        ignorable={"attn_implementation": "which kernel computes attention; all compute the same"},
    )
)
FAMILIES.register("baichuan")(
    Family(
        name="baichuan",
        architectures=("BaichuanForCausalLM", "BaiChuanForCausalLM", "baichuan"),
        reader=read_baichuan,
        ignorable={
            "gradient_checkpointing": "acts in training only",
            "z_loss_weight": "acts in training only",
        },
    )
)
FAMILIES.register("minicpm")(
    Family(
        name="minicpm",
        architectures=("MiniCPMForCausalLM", "minicpm"),
        reader=read_minicpm,
        ignorable=dict.fromkeys(("dim_model_base", "mup_denominator", "scale_depth", "scale_emb"), _FACTOR),
    )
)
