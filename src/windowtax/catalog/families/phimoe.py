"""Phi-3.5-MoE (Abdin et al. 2024, arXiv 2404.14219): Phi with sixteen experts, LayerNorm and LongRoPE."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack, with_norm_biases
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec

_FACTORS = {
    "long_mscale": "LongRoPE's factor on long contexts: logits only, and this family is planned, not run",
    "short_mscale": "LongRoPE's factor on short contexts: logits only, and this family is planned, not run",
}


def read(config: StrictConfig) -> ModelSpec:
    """The window of the published config is as long as its context: none."""
    sizes = read_sizes(config)
    bias = config.take("attention_bias", bool, False)
    full = replace(sizes.attention(sizes.rope(config, theta=1e6, ignore=_FACTORS), qkv_bias=bias), output_bias=bias)
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
    )
    attention = sizes.windowed(full, config.take_optional("sliding_window", int))
    spec = with_norm_biases(stack("phimoe", sizes, attention, experts))
    return replace(spec, head_bias=config.take("lm_head_bias", bool, False))


FAMILIES.register("phimoe")(
    Family(
        name="phimoe",
        architectures=("PhiMoEForCausalLM", "PhimoeForCausalLM", "phimoe"),
        reader=read,
        ignorable={**ROUTING, "input_jitter_noise": "acts in training only"},
    )
)
