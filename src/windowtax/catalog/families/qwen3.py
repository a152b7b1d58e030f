"""Qwen 3, dense (Qwen team 2025, arXiv 2505.09388): no biases, RMS norm per head on q and k, an explicit head_dim."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import read_gguf_rope
from windowtax.catalog.qwen_window import read_window_layers
from windowtax.catalog.sizes import read_gguf_sizes, read_sizes
from windowtax.catalog.weight_names import GGUF_NAMES, HF_NAMES
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """head_dim is 128 where the config names none (transformers, Qwen3Config), whatever hidden_size / heads is."""
    sizes = read_sizes(config, {"head_dim": 128})
    rope = sizes.rope(config)
    bias = config.take("attention_bias", bool, False)
    full = replace(sizes.attention(rope, qkv_bias=bias, qk_norm=QkNorm.PER_HEAD), output_bias=bias)
    windows = read_window_layers(config, sizes.num_layers)
    return sizes.model("qwen3", [LayerSpec(attention=sizes.windowed(full, w), mlp=sizes.mlp) for w in windows])


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """Full attention everywhere: llama.cpp knows no window for this architecture."""
    sizes = read_gguf_sizes(metadata)
    rope = read_gguf_rope(metadata, sizes)
    layer = LayerSpec(attention=sizes.attention(rope, qk_norm=QkNorm.PER_HEAD), mlp=sizes.mlp)
    return sizes.model("qwen3", [layer] * sizes.num_layers)


FAMILIES.register("qwen3")(
    Family(
        name="qwen3",
        architectures=("Qwen3ForCausalLM", "qwen3"),
        runs=True,
        reader=read,
        hf_names=HF_NAMES,
        gguf_architectures=("qwen3",),
        gguf_reader=read_gguf,
        gguf_names=GGUF_NAMES,
    )
)
