"""OLMo 2, OLMo 3 and OLMoE (Ai2 2024 and 2025, arXiv 2501.00656, 2409.02060): RMS norm over all heads of q and k.

OLMo 2 and 3 normalise what attention and MLP give, not what they take; OLMo 3 slides a window on three layers of four.
"""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.families.gemma3 import read_gemma_ropes
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.layer_types import FULL, SLIDING, every
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import full_or_sliding, stack
from windowtax.catalog.typed import optional_dict
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec, NormPlacement
from windowtax.spec.rope import Rope
from windowtax.spec.rope.none import NoScaling


def read_olmo2(config: StrictConfig) -> ModelSpec:
    """Full attention everywhere."""
    sizes = read_sizes(config)
    return stack("olmo2", sizes, _attention(config, sizes, sizes.rope(config)), sizes.mlp, NormPlacement.POST)


def read_olmo3(config: StrictConfig) -> ModelSpec:
    """Layers that slide keep plain RoPE; a scaling belongs to the full ones alone."""
    sizes = read_sizes(config)
    given = optional_dict(config, "rope_parameters") or {}
    if FULL in given:
        ropes = read_gemma_ropes(config, sizes)
    else:
        rope = sizes.rope(config, theta=5e5)
        ropes = {FULL: rope, SLIDING: Rope(rope.theta, rope.rotary_dim, NoScaling())}
    attention = full_or_sliding(
        config,
        sizes,
        _attention(config, sizes, ropes[FULL]),
        every(4, sizes.num_layers),
        _attention(config, sizes, ropes[SLIDING]),
    )
    return stack("olmo3", sizes, attention, sizes.mlp, NormPlacement.POST)


def read_olmoe(config: StrictConfig) -> ModelSpec:
    """Norms stand before the parts here."""
    sizes = read_sizes(config)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
    )
    return stack("olmoe", sizes, _attention(config, sizes, sizes.rope(config)), experts)


def _attention(config: StrictConfig, sizes: Sizes, rope: Rope) -> FullAttention:
    config.expect("attention_bias", False)
    return sizes.attention(rope, qk_norm=QkNorm.WHOLE)


FAMILIES.register("olmo2")(Family(name="olmo2", architectures=("Olmo2ForCausalLM", "olmo2"), reader=read_olmo2))
FAMILIES.register("olmo3")(Family(name="olmo3", architectures=("Olmo3ForCausalLM", "olmo3"), reader=read_olmo3))
FAMILIES.register("olmoe")(
    Family(
        name="olmoe",
        architectures=("OlmoeForCausalLM", "olmoe"),
        reader=read_olmoe,
        ignorable={**ROUTING, "clip_qkv": "limits queries, keys and values: logits only, and this family is planned"},
    )
)
