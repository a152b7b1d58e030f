"""Qwen 1.5 and 2 with experts (Qwen team 2024, arXiv 2407.10671): biases on q, k and v; routed experts beside a shared
one with a gate."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.qwen_experts import read_qwen_experts
from windowtax.catalog.qwen_window import read_window_layers
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import stack
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """A window, where one is used at all, slides as in Qwen 2."""
    sizes = read_sizes(config)
    full = sizes.attention(sizes.rope(config), qkv_bias=config.take("qkv_bias", bool, True))
    attention = [sizes.windowed(full, window) for window in read_window_layers(config, sizes.num_layers)]
    return stack("qwen2_moe", sizes, attention, read_qwen_experts(config, sizes))


FAMILIES.register("qwen2_moe")(
    Family(name="qwen2_moe", architectures=("Qwen2MoeForCausalLM", "qwen2_moe"), reader=read, ignorable=ROUTING)
)
