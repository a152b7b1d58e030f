"""GLM-4.5, 4.6, 4.7, their Air versions, and the decoders of 4.5V and 4.6V (Zhipu 2025, arXiv 2508.06471): the first
layers dense, then routed experts beside a shared one; biases on q, k and v; RoPE on half of each head."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.sizes import read_sizes
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """The router's bias (e_score_correction_bias) is in every checkpoint, named in no config."""
    sizes = read_sizes(config)
    rope = sizes.rope(config, share=0.5)
    norm = QkNorm.PER_HEAD if config.take("use_qk_norm", bool, False) else QkNorm.NONE
    attention = sizes.attention(rope, qkv_bias=config.take("attention_bias", bool, False), qk_norm=norm)
    width = config.take("moe_intermediate_size", int)
    experts = ExpertsMlp(
        num_experts=config.take("n_routed_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("n_shared_experts", int),
        router_bias=True,
    )
    first = config.take("first_k_dense_replace", int)
    mlps = [sizes.mlp if index < first else experts for index in range(sizes.num_layers)]
    return sizes.model("glm4_moe", [LayerSpec(attention=attention, mlp=mlp) for mlp in mlps])


FAMILIES.register("glm4_moe")(
    Family(
        name="glm4_moe",
        architectures=(
            "Glm4MoeForCausalLM",
            "glm4_moe",
            "Glm4vMoeForConditionalGeneration",
            "glm4v_moe",
            "glm4v_moe_text",
        ),
        reader=read,
        ignorable={**ROUTING, **PREDICTION_LAYERS},
    )
)
