"""Mistral 7B v0.1 to v0.3, Mistral Nemo, and Mistral Small's decoder (Jiang et al. 2023, arXiv 2310.06825).

Version 0.1 slides a window of 4,096 tokens over every layer; the later ones write `sliding_window: null`.
"""

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.weight_names import HF_NAMES
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """Raises BadInput without the key sliding_window: transformers would then slide over 4,096 tokens in silence."""
    sizes = read_sizes(config)
    if "sliding_window" not in config:
        raise BadInput(f"{config.source}: 'sliding_window' is missing.", "Write a number of tokens, or null for none.")
    rope = sizes.rope(config)
    attention = sizes.windowed(sizes.attention(rope), config.take_optional("sliding_window", int))
    return sizes.model("mistral", [LayerSpec(attention=attention, mlp=sizes.mlp)] * sizes.num_layers)


FAMILIES.register("mistral")(
    Family(
        name="mistral",
        architectures=("MistralForCausalLM", "mistral"),
        runs=True,
        reader=read,
        hf_names=HF_NAMES,
    )
)
