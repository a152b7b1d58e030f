"""Seed-OSS 36B (ByteDance Seed 2025): grouped queries with an explicit head_dim, biases on q, k and v, 512K tokens."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """The bias of the output projection has a switch of its own."""
    sizes = read_sizes(config)
    attention = replace(
        sizes.attention(sizes.rope(config), qkv_bias=config.take("attention_bias", bool, True)),
        output_bias=config.take("attention_out_bias", bool, False),
    )
    return stack("seed_oss", sizes, attention, replace(sizes.mlp, bias=config.take("mlp_bias", bool, False)))


FAMILIES.register("seed_oss")(
    Family(
        name="seed_oss",
        architectures=("SeedOssForCausalLM", "seed_oss"),
        reader=read,
        ignorable={"residual_dropout": "acts in training only"},
    )
)
