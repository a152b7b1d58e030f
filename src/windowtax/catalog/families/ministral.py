"""Ministral 8B, Ministral 3 and Devstral 2 (Mistral AI 2024 and 2025): Mistral with another list of layers, or another
RoPE."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.mistral_rope import MISTRAL_ROPE
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.stack import full_or_sliding, stack
from windowtax.spec.model import ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """Layers slide only where `layer_types` says so; Ministral 3 writes `sliding_window: null`."""
    sizes = read_sizes(config)
    full = sizes.attention(sizes.rope(config, ignore=MISTRAL_ROPE))
    return stack("ministral", sizes, full_or_sliding(config, sizes, full), sizes.mlp)


FAMILIES.register("ministral")(
    Family(
        name="ministral",
        architectures=("MinistralForCausalLM", "ministral", "Ministral3ForCausalLM", "ministral3"),
        reader=read,
    )
)
