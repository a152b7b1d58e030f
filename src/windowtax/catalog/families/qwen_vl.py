"""The decoders inside Qwen2-VL, Qwen2.5-VL, Qwen3-VL and the thinkers of Qwen-Omni (Qwen team 2024 and 2025, arXiv
2409.12191, 2502.13923, 2511.21631).

They are Qwen 2, Qwen 3 and Qwen 3 with experts under other names. Positions have three axes, of which text uses one;
Qwen3-VL adds image features to the first layers' outputs (DeepStack), which are kept nowhere.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.families.qwen2 import read as read_qwen2
from windowtax.catalog.families.qwen3 import read as read_qwen3
from windowtax.catalog.families.qwen3_moe import read as read_qwen3_moe
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.spec.model import ModelSpec

_WINDOWS = "counts layers of a window that is not used: such a value is refused"


def read_2(config: StrictConfig) -> ModelSpec:
    """Qwen2-VL, Qwen2.5-VL, Qwen2.5-Omni."""
    return replace(read_qwen2(config), family="qwen2_vl")


def read_3(config: StrictConfig) -> ModelSpec:
    """Qwen3-VL, dense."""
    return replace(read_qwen3(config), family="qwen3_vl")


def read_3_moe(config: StrictConfig) -> ModelSpec:
    """Qwen3-VL with experts, Qwen3-Omni."""
    return replace(read_qwen3_moe(config), family="qwen3_vl_moe")


FAMILIES.register("qwen2_vl")(
    Family(
        name="qwen2_vl",
        architectures=(
            "Qwen2VLForConditionalGeneration",
            "Qwen2_5_VLForConditionalGeneration",
            "qwen2_vl",
            "qwen2_vl_text",
            "qwen2_5_vl",
            "qwen2_5_vl_text",
            "qwen2_5_omni_text",
        ),
        reader=read_2,
    )
)
FAMILIES.register("qwen3_vl")(
    Family(
        name="qwen3_vl",
        architectures=("Qwen3VLForConditionalGeneration", "qwen3_vl", "qwen3_vl_text"),
        reader=read_3,
    )
)
FAMILIES.register("qwen3_vl_moe")(
    Family(
        name="qwen3_vl_moe",
        architectures=(
            "Qwen3VLMoeForConditionalGeneration",
            "qwen3_vl_moe",
            "qwen3_vl_moe_text",
            "qwen3_omni_moe_text",
        ),
        reader=read_3_moe,
        ignorable={**ROUTING, "sliding_window": _WINDOWS, "max_window_layers": _WINDOWS},
    )
)
