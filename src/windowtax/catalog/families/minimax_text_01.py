"""MiniMax-Text-01 and M1 (MiniMax 2025, arXiv 2501.08313): seven layers of lightning attention to one of softmax
attention.

Two spellings: the authors' `attn_type_list` (1: softmax) and `layernorm_*` keys, and transformers' `layer_types`.
"""

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.layer_types import FULL, LINEAR, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes, state_element
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.linear import LinearAttention
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec

_RESIDUAL = "weighs the residual: logits only, and this family is planned, not run"


def read(config: StrictConfig) -> ModelSpec:
    """RoPE turns `rotary_dim` numbers of each head in the softmax layers; lightning layers have none."""
    sizes = read_sizes(config)
    config.expect("shared_intermediate_size", 0)
    config.expect("sliding_window")
    share = config.take("rotary_dim", int, sizes.head_dim) / sizes.head_dim
    full = sizes.attention(sizes.rope(config, theta=1e6, share=share))
    lightning = LinearAttention(
        num_heads=sizes.num_query_heads,
        head_dim=sizes.head_dim,
        decay=True,
        output_gate=True,
        output_norm=True,
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
    )
    known: dict[str, AttentionKind] = {FULL: full, LINEAR: lightning}
    attention = by_type(config, _kinds(config, sizes), known)
    return sizes.model("minimax_text_01", [LayerSpec(attention=kind, mlp=experts) for kind in attention])


def _kinds(config: StrictConfig, sizes: Sizes) -> list[str]:
    named = read_layer_types(config, sizes.num_layers)
    flags = optional_list(config, "attn_type_list")
    if named is not None:
        return named
    if flags is None or len(flags) != sizes.num_layers or set(flags) - {0, 1}:
        raise BadInput(
            f"{config.source}: neither 'layer_types' nor an 'attn_type_list' of 0 and 1 names "
            f"{sizes.num_layers} layers."
        )
    return [FULL if flag else LINEAR for flag in flags]


FAMILIES.register("minimax_text_01")(
    Family(
        name="minimax_text_01",
        architectures=(
            "MiniMaxText01ForCausalLM",
            "MiniMaxM1ForCausalLM",
            "MiniMaxForCausalLM",
            "minimax_text_01",
            "minimax_m1",
            "minimax",
        ),
        reader=read,
        ignorable={
            **ROUTING,
            **dict.fromkeys(
                (
                    "full_attn_alpha_factor",
                    "full_attn_beta_factor",
                    "layernorm_full_attention_alpha",
                    "layernorm_full_attention_beta",
                    "layernorm_linear_attention_alpha",
                    "layernorm_linear_attention_beta",
                    "layernorm_mlp_alpha",
                    "layernorm_mlp_beta",
                    "linear_attn_alpha_factor",
                    "linear_attn_beta_factor",
                    "mlp_alpha_factor",
                    "mlp_beta_factor",
                    "postnorm",
                ),
                _RESIDUAL,
            ),
            "block_size": "of the kernel of lightning attention; the sum stays the same",
            "shared_moe_mode": "of shared experts, of which there are none",
        },
    )
)
