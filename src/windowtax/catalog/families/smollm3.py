"""SmolLM3 3B (Hugging Face 2025): every fourth layer has no RoPE. All layers attend to everything, so the cache is that
of any model with grouped queries: leaving out positions saves no memory."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, read_layer_types
from windowtax.catalog.sizes import read_sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """In `no_rope_layers` a 1 means that the layer HAS RoPE. A window, where used, slides on layers without it."""
    sizes = read_sizes(config, {"tie_word_embeddings": True})
    rope = sizes.rope(config, theta=2e6)
    bias = config.take("attention_bias", bool, False)
    mlp = replace(sizes.mlp, bias=config.take("mlp_bias", bool, False))
    interval = config.take("no_rope_layer_interval", int, 4)
    rotated = optional_list(config, "no_rope_layers") or [(i + 1) % interval for i in range(sizes.num_layers)]
    window = config.take_optional("sliding_window", int) if config.take("use_sliding_window", bool, False) else None
    kinds = read_layer_types(config, sizes.num_layers) or [FULL if has_rope else SLIDING for has_rope in rotated]
    layers: list[LayerSpec] = []
    for kind, has_rope in zip(kinds, rotated, strict=True):
        full = replace(sizes.attention(rope if has_rope else None, qkv_bias=bias), output_bias=bias)
        known = {FULL: full, SLIDING: sizes.windowed(full, window)}
        layers.append(LayerSpec(attention=by_type(config, [kind], known)[0], mlp=mlp))
    return sizes.model("smollm3", layers)


FAMILIES.register("smollm3")(
    Family(
        name="smollm3",
        architectures=("SmolLM3ForCausalLM", "smollm3"),
        reader=read,
        ignorable={
            "max_window_layers": "transformers reads it for Qwen, not for SmolLM3",
            "sliding_window": "without effect while use_sliding_window is false; read where it is true",
        },
    )
)
