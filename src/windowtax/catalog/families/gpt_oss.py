"""gpt-oss 20B and 120B (OpenAI 2025, arXiv 2508.10925): a window of 128 tokens on every other layer, a learned sink
logit per head, biases everywhere, experts in MXFP4."""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import read_sizes
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec

_CLAMP = "shapes the experts' activation: logits only, and this family is planned, not run"


def read(config: StrictConfig) -> ModelSpec:
    """The sink logit takes no cache: it is a weight."""
    sizes = read_sizes(config)
    bias = config.take("attention_bias", bool, True)
    rope = sizes.rope(config, theta=1.5e5)
    full = replace(sizes.attention(rope, qkv_bias=bias), output_bias=bias, sink_logits=True)
    top_k = config.take("num_experts_per_tok", int)
    config.expect("experts_per_token", top_k)
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=top_k,
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
        expert_bias=True,
        router_bias=True,
    )
    kinds = read_layer_types(config, sizes.num_layers) or every(2, sizes.num_layers)
    window = config.take("sliding_window", int)
    attention = by_type(config, kinds, {FULL: full, SLIDING: sizes.windowed(full, window)})
    return sizes.model("gpt_oss", [LayerSpec(attention=kind, mlp=experts) for kind in attention])


FAMILIES.register("gpt_oss")(
    Family(
        name="gpt_oss",
        architectures=("GptOssForCausalLM", "gpt_oss"),
        reader=read,
        ignorable={
            "initial_context_length": "repeats the trained length of rope_scaling, which is read",
            "swiglu_alpha": _CLAMP,
            "swiglu_limit": _CLAMP,
        },
    )
)
