"""Granite 3 and 4 (IBM 2024 and 2025): Llama with four factors, with experts, and the hybrids of Mamba-2.

Granite 4 hybrids have nine layers of Mamba-2 to one of attention without positions; each has a shared feed-forward
part, and routed experts beside it where `num_local_experts` is not 0.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.layer_types import FULL, LINEAR, by_type
from windowtax.catalog.mamba import MAMBA_DETAILS, read_mamba2
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import stack
from windowtax.catalog.typed import required_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.mlp import ExpertsMlp, GatedMlp, Mlp
from windowtax.spec.model import ModelSpec

_FACTOR = "a factor on embeddings, scores, residuals or logits: this family is planned, not run"
_FACTORS: dict[str, str] = dict.fromkeys(
    ("attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier"), _FACTOR
)
_NORMS = {"normalization_function": "every checkpoint has RMS norms; a norm is counted as one vector"}
_WORDS = {"mamba": LINEAR, "attention": FULL}


def read(config: StrictConfig) -> ModelSpec:
    """Dense, attention on every layer."""
    sizes = read_sizes(config)
    mlp = replace(sizes.mlp, bias=config.take("mlp_bias", bool, False))
    return stack("granite", sizes, _attention(config, sizes, rotates=True), mlp)


def read_moe(config: StrictConfig) -> ModelSpec:
    """With experts, and a shared part where its width is given."""
    sizes = read_sizes(config)
    return stack("granite_moe", sizes, _attention(config, sizes, rotates=True), _mlp(config, sizes))


def read_hybrid(config: StrictConfig) -> ModelSpec:
    """`layer_types` says which layers are which, in the authors' words or in those of transformers 5."""
    sizes = read_sizes(config)
    config.expect("position_embedding_type", "nope", "rope")
    rotates = config.take("position_embedding_type", str, "nope") == "rope"
    kinds = [_WORDS.get(str(kind), str(kind)) for kind in required_list(config, "layer_types", sizes.num_layers)]
    known: dict[str, AttentionKind] = {
        FULL: _attention(config, sizes, rotates=rotates),
        LINEAR: read_mamba2(config, sizes.hidden_size),
    }
    return stack("granite_hybrid", sizes, by_type(config, kinds, known), _mlp(config, sizes))


def _attention(config: StrictConfig, sizes: Sizes, *, rotates: bool) -> FullAttention:
    rope = sizes.rope(config)
    bias = config.take("attention_bias", bool, False)
    return replace(sizes.attention(rope if rotates else None, qkv_bias=bias), output_bias=bias)


def _mlp(config: StrictConfig, sizes: Sizes) -> Mlp:
    shared = config.take("shared_intermediate_size", int, 0)
    count, top_k = config.take("num_local_experts", int), config.take("num_experts_per_tok", int)
    if not count:
        return GatedMlp(intermediate_size=shared, activation=sizes.activation)
    return ExpertsMlp(
        num_experts=count,
        top_k=top_k,
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
        shared_intermediate_size=shared,
    )


FAMILIES.register("granite")(
    Family(name="granite", architectures=("GraniteForCausalLM", "granite"), reader=read, ignorable=_FACTORS)
)
FAMILIES.register("granite_moe")(
    Family(
        name="granite_moe",
        architectures=("GraniteMoeForCausalLM", "granitemoe", "GraniteMoeSharedForCausalLM", "granitemoeshared"),
        reader=read_moe,
        ignorable={**ROUTING, **_FACTORS},
    )
)
FAMILIES.register("granite_hybrid")(
    Family(
        name="granite_hybrid",
        architectures=("GraniteMoeHybridForCausalLM", "granitemoehybrid"),
        reader=read_hybrid,
        ignorable={**ROUTING, **_FACTORS, **MAMBA_DETAILS, "init_method": "acts in training only", **_NORMS},
    )
)
