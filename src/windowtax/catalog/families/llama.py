"""Llama 2, 3, 3.1, 3.2, 3.3 (Touvron et al. 2023, arXiv 2307.09288; Meta 2024, arXiv 2407.21783), and the many that
took over its shape: SmolLM2, DeepSeek-67B, Yi.

GGUF files of this architecture hold Mistral 7B too. They do not name the window of its version 0.1, and llama.cpp reads
them without one; so do we.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.gguf import read_gguf_rope
from windowtax.catalog.sizes import read_gguf_sizes, read_sizes
from windowtax.catalog.weight_names import GGUF_NAMES, HF_NAMES, Transform
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """attention_bias puts one on all four projections."""
    sizes = read_sizes(config)
    config.expect("rope_interleaved", False)
    rope = sizes.rope(config)
    bias = config.take("attention_bias", bool, False)
    attention = replace(sizes.attention(rope, qkv_bias=bias), output_bias=bias)
    mlp = replace(sizes.mlp, bias=config.take("mlp_bias", bool, False))
    return sizes.model("llama", [LayerSpec(attention=attention, mlp=mlp)] * sizes.num_layers)


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """No biases: GGUF metadata names none, and a file that holds some is refused for its tensors."""
    sizes = read_gguf_sizes(metadata)
    rope = read_gguf_rope(metadata, sizes)
    layer = LayerSpec(attention=sizes.attention(rope), mlp=sizes.mlp)
    return sizes.model("llama", [layer] * sizes.num_layers)


FAMILIES.register("llama")(
    Family(
        name="llama",
        architectures=("LlamaForCausalLM", "llama"),
        runs=True,
        reader=read,
        ignorable={
            "is_llama_config": "a flag of the training framework",
            "transformers.js_config": "how a browser loads the model",
        },
        hf_names=HF_NAMES,
        gguf_architectures=("llama",),
        gguf_reader=read_gguf,
        gguf_names=replace(
            GGUF_NAMES,
            transforms={"attention.q": Transform.UNPERMUTE_HEADS, "attention.k": Transform.UNPERMUTE_HEADS},
        ),
    )
)
