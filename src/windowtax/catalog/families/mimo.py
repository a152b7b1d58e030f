"""MiMo 7B (Xiaomi 2025, arXiv 2505.07608): the shape of Qwen 2 with a layer that drafts tokens.

A trap: the config names a window of 32,768 tokens and uses none.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.families.qwen2 import read as read_qwen2
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """`attention_bias` means q, k and v, as Qwen 2 always has them."""
    config.expect("attention_bias", True)
    return replace(read_qwen2(config), family="mimo")


FAMILIES.register("mimo")(
    Family(name="mimo", architectures=("MiMoForCausalLM", "mimo"), reader=read, ignorable=PREDICTION_LAYERS)
)
