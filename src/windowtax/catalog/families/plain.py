"""Decoders whose MLP has no gate, most of them with LayerNorm: StarCoder2, Nemotron 4 and Minitron, Phi 1 to 2, Apertus
and Arcee (arXiv 2402.19173, 2407.14679, 2309.05463, 2509.14233).

Planned only: their norms, and most of their activations, are not computed here.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING
from windowtax.catalog.sizes import Sizes, planned_activation, read_sizes
from windowtax.catalog.stack import full_or_sliding, stack, with_norm_biases
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import PlainMlp
from windowtax.spec.model import ModelSpec, NormPlacement
from windowtax.spec.weights import Weight

_DROPOUT = "acts in training only"


def read_starcoder2(config: StrictConfig) -> ModelSpec:
    """A window, where one is given, slides on every layer."""
    sizes = _sizes(config, "norm_epsilon", "gelu_pytorch_tanh", tied=True)
    config.expect("mlp_type", "default")
    config.expect("norm_type", "layer_norm")
    bias = config.take("use_bias", bool, True)
    full = replace(sizes.attention(sizes.rope(config), qkv_bias=bias), output_bias=bias)
    slides = config.take_optional("sliding_window", int) is not None
    attention = full_or_sliding(config, sizes, full, [SLIDING if slides else FULL] * sizes.num_layers)
    return with_norm_biases(stack("starcoder2", sizes, attention, _mlp(sizes, bias=bias)))


def read_nemotron(config: StrictConfig) -> ModelSpec:
    """Squared relu; RoPE on half of each head."""
    sizes = _sizes(config, "norm_eps", "relu2")
    bias = config.take("attention_bias", bool, False)
    rope = sizes.rope(config, share=config.take("rope_percent", float, 0.5))
    attention = replace(sizes.attention(rope, qkv_bias=bias), output_bias=bias)
    mlp = _mlp(sizes, bias=config.take("mlp_bias", bool, False))
    return with_norm_biases(stack("nemotron", sizes, attention, mlp))


def read_phi(config: StrictConfig) -> ModelSpec:
    """Attention and MLP side by side behind one norm; biases everywhere, on the head too."""
    sizes = _sizes(config, "layer_norm_eps", "gelu_new")
    config.expect("qk_layernorm", False)
    attention = replace(sizes.attention(sizes.rope(config, share=0.5), qkv_bias=True), output_bias=True)
    spec = with_norm_biases(stack("phi", sizes, attention, _mlp(sizes, bias=True), NormPlacement.PARALLEL))
    return replace(spec, head_bias=True)


def read_apertus(config: StrictConfig) -> ModelSpec:
    """xIELU has two learned numbers and two fixed ones per layer, which checkpoints keep."""
    sizes = _sizes(config, "rms_norm_eps", "xielu")
    config.expect("mlp_bias", False)
    config.expect("post_norm", False)
    config.expect("qk_norm", True)
    bias = config.take("attention_bias", bool, False)
    rope = sizes.rope(config, theta=1.2e7)
    attention = replace(sizes.attention(rope, qkv_bias=bias, qk_norm=QkNorm.PER_HEAD), output_bias=bias)
    spec = stack("apertus", sizes, attention, _mlp(sizes))
    beside = tuple(Weight(f"xielu_{name}", (1,)) for name in ("alpha_p", "alpha_n", "beta", "eps"))
    return replace(spec, layers=tuple(replace(layer, extra_weights=beside) for layer in spec.layers))


def read_arcee(config: StrictConfig) -> ModelSpec:
    """Llama with squared relu (AFM-4.5B)."""
    sizes = _sizes(config, "rms_norm_eps", "relu2")
    bias = config.take("attention_bias", bool, False)
    attention = replace(sizes.attention(sizes.rope(config), qkv_bias=bias), output_bias=bias)
    return stack("arcee", sizes, attention, _mlp(sizes, bias=config.take("mlp_bias", bool, False)))


def _sizes(config: StrictConfig, eps: str, activation: str, *, tied: bool = False) -> Sizes:
    known = planned_activation(config, activation)
    return read_sizes(config, {"tie_word_embeddings": tied}, norm_eps_key=eps, activation=known)


def _mlp(sizes: Sizes, *, bias: bool = False) -> PlainMlp:
    return PlainMlp(intermediate_size=sizes.intermediate_size, activation=sizes.activation, bias=bias)


FAMILIES.register("starcoder2")(
    Family(
        name="starcoder2",
        architectures=("Starcoder2ForCausalLM", "starcoder2"),
        reader=read_starcoder2,
        ignorable=dict.fromkeys(("embedding_dropout", "residual_dropout"), _DROPOUT),
    )
)
FAMILIES.register("nemotron")(
    Family(name="nemotron", architectures=("NemotronForCausalLM", "nemotron"), reader=read_nemotron)
)
FAMILIES.register("phi")(Family(name="phi", architectures=("PhiForCausalLM", "phi"), reader=read_phi))
FAMILIES.register("apertus")(
    Family(name="apertus", architectures=("ApertusForCausalLM", "apertus"), reader=read_apertus)
)
FAMILIES.register("arcee")(Family(name="arcee", architectures=("ArceeForCausalLM", "arcee"), reader=read_arcee))
