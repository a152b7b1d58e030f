"""Qwen 2 and 2.5 (Qwen team 2024, arXiv 2407.10671, 2412.15115): biases on q, k and v, none on o."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import read_gguf_rope
from windowtax.catalog.qwen_window import read_window_layers
from windowtax.catalog.sizes import read_gguf_sizes, read_sizes
from windowtax.catalog.weight_names import GGUF_NAMES, HF_NAMES
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """The window, where one is used at all, slides over some of the layers only."""
    sizes = read_sizes(config)
    config.expect("use_mrope", False)
    rope = sizes.rope(config)
    full = sizes.attention(rope, qkv_bias=True)
    windows = read_window_layers(config, sizes.num_layers)
    return sizes.model("qwen2", [LayerSpec(attention=sizes.windowed(full, w), mlp=sizes.mlp) for w in windows])


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """Full attention everywhere: llama.cpp knows no window for this architecture."""
    sizes = read_gguf_sizes(metadata)
    rope = read_gguf_rope(metadata, sizes)
    layer = LayerSpec(attention=sizes.attention(rope, qkv_bias=True), mlp=sizes.mlp)
    return sizes.model("qwen2", [layer] * sizes.num_layers)


FAMILIES.register("qwen2")(
    Family(
        name="qwen2",
        architectures=("Qwen2ForCausalLM", "qwen2"),
        runs=True,
        reader=read,
        ignorable={
            "dual_chunk_attention_config": "keeps the same cache, and gives the same positions as plain "
            "attention up to its chunk (262,144 tokens); beyond it transformers, too, computes plain attention",
        },
        hf_names=HF_NAMES,
        gguf_architectures=("qwen2",),
        gguf_reader=read_gguf,
        gguf_names=GGUF_NAMES,
    )
)
