"""Bamba (IBM 2024) and Falcon-H1 (TII 2025, arXiv 2507.22448): Mamba-2 beside attention in one model.

Bamba has attention in place of Mamba-2 on a few layers. Falcon-H1 has both in every layer, side by side behind one
norm: here two parts follow each other, the second with the norm that both take.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, LINEAR, by_type, read_layer_types
from windowtax.catalog.mamba import MAMBA_DETAILS, read_mamba2
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import stack
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.mlp import GatedMlp, NoMlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement


def read_bamba(config: StrictConfig) -> ModelSpec:
    """Attention stands on the layers of `attn_layer_indices`."""
    sizes = read_sizes(config)
    chosen = set(optional_list(config, "attn_layer_indices") or [])
    kinds = read_layer_types(config, sizes.num_layers) or [
        FULL if index in chosen else LINEAR for index in range(sizes.num_layers)
    ]
    config.expect("attn_rotary_emb", sizes.head_dim // 2)
    known: dict[str, AttentionKind] = {
        FULL: _attention(config, sizes, share=0.5),
        LINEAR: read_mamba2(config, sizes.hidden_size),
    }
    return stack("bamba", sizes, by_type(config, kinds, known), _mlp(config, sizes))


def read_falcon_h1(config: StrictConfig) -> ModelSpec:
    """Mamba-2's gated norm is there only with `mamba_rms_norm`."""
    sizes = read_sizes(config)
    config.expect("attn_layer_indices")
    mamba = replace(
        read_mamba2(config, sizes.hidden_size),
        out_norm=config.take("mamba_rms_norm", bool, False),
        projection_bias=config.take("mamba_proj_bias", bool, False),
    )
    config.expect("projectors_bias", mamba.projection_bias)
    beside = LayerSpec(attention=mamba, mlp=NoMlp(), norms=NormPlacement.BORROWED)
    layer = LayerSpec(attention=_attention(config, sizes), mlp=_mlp(config, sizes))
    return sizes.model("falcon_h1", [beside, layer] * sizes.num_layers)


def _attention(config: StrictConfig, sizes: Sizes, share: float = 1.0) -> FullAttention:
    bias = config.take("attention_bias", bool, False)
    return replace(sizes.attention(sizes.rope(config, share=share), qkv_bias=bias), output_bias=bias)


def _mlp(config: StrictConfig, sizes: Sizes) -> GatedMlp:
    return replace(sizes.mlp, bias=config.take("mlp_bias", bool, False))


_FACTOR = "a factor on embeddings, keys, states or logits: this family is planned, not run"

FAMILIES.register("bamba")(
    Family(name="bamba", architectures=("BambaForCausalLM", "bamba"), reader=read_bamba, ignorable=MAMBA_DETAILS)
)
FAMILIES.register("falcon_h1")(
    Family(
        name="falcon_h1",
        architectures=("FalconH1ForCausalLM", "falcon_h1"),
        reader=read_falcon_h1,
        ignorable={
            **MAMBA_DETAILS,
            **dict.fromkeys(
                (
                    "attention_in_multiplier",
                    "attention_out_multiplier",
                    "embedding_multiplier",
                    "key_multiplier",
                    "lm_head_multiplier",
                    "mlp_multipliers",
                    "ssm_in_multiplier",
                    "ssm_multipliers",
                    "ssm_out_multiplier",
                ),
                _FACTOR,
            ),
            "mamba_norm_before_gate": "the order of norm and gate: logits only, and this family is planned, not run",
            "mamba_use_mlp": "every layer of every published model has its feed-forward part",
            "mlp_expansion_factor": "repeats intermediate_size over hidden_size",
        },
    )
)
