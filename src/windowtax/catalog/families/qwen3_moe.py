"""Qwen 3 with experts (Qwen team 2025, arXiv 2505.09388): the attention of Qwen 3, routed experts, none shared."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.qwen_experts import read_qwen_experts
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.model import ModelSpec

_UNUSED = "without effect while use_sliding_window is false, and no other value of that is accepted"


def read(config: StrictConfig) -> ModelSpec:
    """`intermediate_size` belongs to dense layers, of which most of these models have none."""
    sizes = read_sizes(config)
    config.expect("use_sliding_window", False)
    config.expect("use_qk_norm", True)
    config.expect("qkv_bias", False)
    config.expect("shared_expert_intermediate_size", 0)
    rope = sizes.rope(config)
    bias = config.take("attention_bias", bool, False)
    attention = replace(sizes.attention(rope, qkv_bias=bias, qk_norm=QkNorm.PER_HEAD), output_bias=bias)
    return stack("qwen3_moe", sizes, attention, read_qwen_experts(config, sizes))


FAMILIES.register("qwen3_moe")(
    Family(
        name="qwen3_moe",
        architectures=("Qwen3MoeForCausalLM", "qwen3_moe"),
        reader=read,
        ignorable={**ROUTING, "sliding_window": _UNUSED, "max_window_layers": _UNUSED},
    )
)
