"""EXAONE 4 and K-EXAONE (LG AI Research 2025, arXiv 2507.11407): RMS norm per head on q and k; on the large models
three layers slide a window to one that attends to everything and has no RoPE."""

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import routed_layers
from windowtax.catalog.layer_types import FULL, SLIDING, every
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.stack import full_or_sliding, some, stack
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import ModelSpec, NormPlacement

_DRAFTS = "layers that draft tokens (multi-token prediction); they are no part of the decoder and are not loaded"


def read(config: StrictConfig) -> ModelSpec:
    """Dense; norms stand behind the parts."""
    sizes = read_sizes(config)
    return stack("exaone4", sizes, _attention(config, sizes), sizes.mlp, NormPlacement.POST)


def read_moe(config: StrictConfig) -> ModelSpec:
    """With experts; norms stand before the parts."""
    sizes = read_sizes(config)
    width = config.take("moe_intermediate_size", int)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("num_shared_experts", int, 0),
        router_bias=True,
    )
    mlps = some(routed_layers(config, sizes.num_layers), experts, sizes.mlp)
    return stack("exaone_moe", sizes, _attention(config, sizes), mlps)


def _attention(config: StrictConfig, sizes: Sizes) -> list[SoftmaxAttention]:
    """A pattern is a number ("every fourth is full") or letters (LLLG); without a window all layers are full and
    rotate."""
    rope = sizes.rope(config, theta=1e6)
    local = sizes.attention(rope, qk_norm=QkNorm.PER_HEAD)
    pattern = config.take_optional("sliding_window_pattern", object)
    slides = config.take_optional("sliding_window", int) is not None
    kinds: list[str] | None = None
    if slides and isinstance(pattern, int):
        kinds = every(pattern, sizes.num_layers)
    elif slides and isinstance(pattern, str) and pattern and not set(pattern) - {"L", "G"}:
        kinds = [SLIDING if pattern[i % len(pattern)] == "L" else FULL for i in range(sizes.num_layers)]
    elif pattern is not None and slides:
        raise BadInput(f"{config.source}: 'sliding_window_pattern' is {pattern!r}; a number, or letters L and G.")
    whole = sizes.attention(None, qk_norm=QkNorm.PER_HEAD) if slides else local
    return full_or_sliding(config, sizes, whole, kinds, local)


FAMILIES.register("exaone4")(Family(name="exaone4", architectures=("Exaone4ForCausalLM", "exaone4"), reader=read))
FAMILIES.register("exaone_moe")(
    Family(
        name="exaone_moe",
        architectures=("ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM", "exaone_moe"),
        reader=read_moe,
        ignorable={**ROUTING, "num_nextn_predict_layers": _DRAFTS},
    )
)
