"""Llama 4 Scout and Maverick (Meta 2025): three layers of chunked attention with RoPE, then one full layer without.

Experts on every layer (Scout) or on every second one (Maverick), each time beside one shared expert.
"""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import CHUNKED, FULL, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes, chunked, read_sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp, GatedMlp, Mlp
from windowtax.spec.model import LayerSpec, ModelSpec

_TEMPERATURE = "scales queries of layers without RoPE by position: logits only, and this family is planned, not run"


def read(config: StrictConfig) -> ModelSpec:
    """In `no_rope_layers` a 1 means that the layer HAS RoPE; null or an empty list means every fourth has none."""
    sizes = read_sizes(config)
    config.expect("attention_bias", False)
    interval = config.take("no_rope_layer_interval", int, 4)
    rotated = optional_list(config, "no_rope_layers") or [(i + 1) % interval for i in range(sizes.num_layers)]
    kinds = read_layer_types(config, sizes.num_layers) or [CHUNKED if has_rope else FULL for has_rope in rotated]
    known = _attention(config, sizes)
    attention = [
        by_type(config, [kind], known[bool(has_rope)])[0] for kind, has_rope in zip(kinds, rotated, strict=True)
    ]
    mlps = _mlps(config, sizes)
    return sizes.model("llama4", [LayerSpec(attention=a, mlp=m) for a, m in zip(attention, mlps, strict=True)])


def _attention(config: StrictConfig, sizes: Sizes) -> dict[bool, dict[str, SoftmaxAttention]]:
    """By whether a layer has RoPE, and by its type. Only layers with RoPE normalise q and k."""
    rope = sizes.rope(config, theta=5e5)
    norm = QkNorm.UNWEIGHTED if config.take("use_qk_norm", bool, True) else QkNorm.NONE
    chunk = config.take_optional("attention_chunk_size", int)
    return {
        has_rope: {FULL: full, CHUNKED: chunked(full, chunk) if chunk else full}
        for has_rope, full in ((True, sizes.attention(rope, qk_norm=norm)), (False, sizes.attention(None)))
    }


def _mlps(config: StrictConfig, sizes: Sizes) -> list[Mlp]:
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
        shared_intermediate_size=sizes.intermediate_size,
    )
    dense = GatedMlp(intermediate_size=config.take("intermediate_size_mlp", int), activation=sizes.activation)
    step = config.take("interleave_moe_layer_step", int, 1)
    listed = optional_list(config, "moe_layers")
    chosen = set(range(step - 1, sizes.num_layers, step) if listed is None else listed)
    return [experts if index in chosen else dense for index in range(sizes.num_layers)]


FAMILIES.register("llama4")(
    Family(
        name="llama4",
        architectures=("Llama4ForConditionalGeneration", "Llama4ForCausalLM", "llama4", "llama4_text"),
        reader=read,
        ignorable={
            "attn_scale": _TEMPERATURE,
            "attn_temperature_tuning": _TEMPERATURE,
            "floor_scale": _TEMPERATURE,
            "for_llm_compressor": "how a quantiser splits the experts",
        },
    )
)
