"""ChatGLM2 and 3 and GLM-4 9B under the config of their own repositories (Zhipu 2023 and 2024, arXiv 2406.12793): the
shapes of GLM-4 9B with words of their own."""

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.weight_dtype import read_weight_dtype
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope
from windowtax.spec.rope.none import NoScaling


def read(config: StrictConfig) -> ModelSpec:
    """`rope_ratio` stretches the base of RoPE, which turns half of each head. Without `multi_query_attention` every
    query head has keys of its own."""
    heads, head_dim = config.take("num_attention_heads", int), config.take("kv_channels", int)
    groups = config.take("multi_query_group_num", int, heads)
    if min(heads, head_dim, groups) < 1:
        raise BadInput(f"{config.source}: {heads} heads of {head_dim} numbers in {groups} groups cannot be.")
    config.expect("add_bias_linear", False)
    config.expect("rmsnorm", True)
    config.expect("post_layer_norm", True)
    config.expect("prefix_projection", False)
    attention = FullAttention(
        num_query_heads=heads,
        num_kv_heads=groups if config.take("multi_query_attention", bool, False) else heads,
        head_dim=head_dim,
        v_head_dim=head_dim,
        rope=Rope(1e4 * config.take("rope_ratio", float, 1.0), head_dim // 2, NoScaling()),
        qkv_bias=config.take("add_qkv_bias", bool, False),
    )
    mlp = GatedMlp(intermediate_size=config.take("ffn_hidden_size", int), activation="silu")
    return ModelSpec(
        name="",
        family="chatglm",
        vocab_size=config.take("padded_vocab_size", int),
        hidden_size=config.take("hidden_size", int),
        layers=(LayerSpec(attention=attention, mlp=mlp),) * config.take("num_layers", int),
        max_context_tokens=config.take("seq_length", int),
        norm_eps=config.take("layernorm_epsilon", float, 1e-5),
        tie_embeddings=config.take("tie_word_embeddings", bool, False),
        weight_dtype=read_weight_dtype(config),
    )


_KERNEL = "how the authors' kernels compute; the sums stay the same"

FAMILIES.register("chatglm")(
    Family(
        name="chatglm",
        architectures=("ChatGLMModel", "ChatGLMForConditionalGeneration", "chatglm"),
        reader=read,
        ignorable={
            **dict.fromkeys(
                (
                    "apply_query_key_layer_scaling",
                    "attention_softmax_in_fp32",
                    "bias_dropout_fusion",
                    "fp32_residual_connection",
                ),
                _KERNEL,
            ),
            "apply_residual_connection_post_layernorm": "where the residual branches off: logits only",
            "classifier_dropout": "acts in training only",
            "num_hidden_layers": "says again what num_layers says",
            "original_rope": "the form of RoPE of every published model",
            "pre_seq_len": "of prompt tuning, which the published models have not",
            "quantization_bit": "0 in every published file: such weights come as other repositories",
            "vocab_size": "the vocabulary before padding; padded_vocab_size is read",
        },
    )
)
