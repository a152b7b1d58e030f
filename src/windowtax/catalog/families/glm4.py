"""GLM-4 9B, dense, in both forms (Zhipu 2024, arXiv 2406.12793): `glm` of 2024, and `glm4` of April 2025, which adds
norms after attention and MLP, and is the decoder of GLM-4.1V and 4.6V-Flash. Two KV heads, biases on q, k and v, RoPE
on half of each head."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import read_sizes
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement


def read_glm(config: StrictConfig) -> ModelSpec:
    """The form of 2024."""
    return _read(config, "glm", NormPlacement.PRE)


def read_glm4(config: StrictConfig) -> ModelSpec:
    """The form of 2025."""
    return _read(config, "glm4", NormPlacement.SANDWICH)


def _read(config: StrictConfig, family: str, norms: NormPlacement) -> ModelSpec:
    sizes = read_sizes(config, {"head_dim": 128, "num_key_value_heads": 2})
    rope = sizes.rope(config, share=0.5)
    attention = sizes.attention(rope, qkv_bias=config.take("attention_bias", bool, True))
    layer = LayerSpec(attention=attention, mlp=sizes.mlp, norms=norms)
    return sizes.model(family, [layer] * sizes.num_layers)


FAMILIES.register("glm")(Family(name="glm", architectures=("GlmForCausalLM", "glm"), reader=read_glm))
FAMILIES.register("glm4")(
    Family(
        name="glm4",
        architectures=(
            "Glm4ForCausalLM",
            "glm4",
            "Glm4vForConditionalGeneration",
            "Glm46VForConditionalGeneration",
            "glm4v",
            "glm4v_text",
        ),
        reader=read_glm4,
    )
)
