"""Gemma 4 (Google 2026): five windowed layers to one global one with wider heads and fewer of them.

Traps: `attention_k_eq_v` shares the projection of keys and values on global layers, not their cache: keys are normed
and turned, values only normed, so both are kept. The last `num_kv_shared_layers` layers keep nothing.
`use_bidirectional_attention` "vision" leaves text causal.
"""

import math
from dataclasses import replace

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.cache_sharing import share_last
from windowtax.catalog.families.gemma3n import per_layer_embedding, per_layer_gate
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import ExpertsMlp, GatedMlp, Mlp, ParallelMlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.spec.rope import Rope, read_rope_by_kind
from windowtax.spec.weights import Weight

_DEFAULTS = {"tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "head_dim": 256}


def read(config: StrictConfig) -> ModelSpec:
    """The last layer is always a global one, as transformers has it."""
    sizes = read_sizes(config, _DEFAULTS)
    config.expect("attention_bias", False)
    config.expect("use_bidirectional_attention", "vision", False)
    kinds = read_layer_types(config, sizes.num_layers) or every(6, sizes.num_layers)
    kinds = [*kinds[:-1], FULL]
    num_shared = config.take("num_kv_shared_layers", int, 0)
    own = by_type(config, kinds, _attention(config, sizes))
    attention = share_last(own, kinds, num_shared, config.source) if num_shared else own
    width = config.take("hidden_size_per_layer_input", int, 256)
    beside = (*per_layer_gate(sizes.hidden_size, width), Weight("layer_scale", (1,)))
    mlps = _mlps(config, sizes, num_shared)
    layers = [
        LayerSpec(attention=kind, mlp=mlp, norms=NormPlacement.SANDWICH, extra_weights=beside)
        for kind, mlp in zip(attention, mlps, strict=True)
    ]
    vocab = config.take("vocab_size_per_layer_input", int, sizes.vocab_size)
    return replace(
        sizes.model("gemma4", layers),
        embedding_scale=math.sqrt(sizes.hidden_size),
        logit_softcap=config.take_optional("final_logit_softcapping", float),
        extra_weights=per_layer_embedding(sizes, width, vocab),
    )


def _attention(config: StrictConfig, sizes: Sizes) -> dict[str, SoftmaxAttention]:
    """`num_global_key_value_heads` counts only where `attention_k_eq_v` is on."""
    wide = config.take("global_head_dim", int, 512)
    global_heads = config.take("num_global_key_value_heads", int, sizes.num_kv_heads)
    same = config.take("attention_k_eq_v", bool, False)
    _expect_wide_where_full(config, sizes, wide)
    ropes = _ropes(config, sizes, wide)
    local = replace(sizes.attention(ropes[SLIDING], qk_norm=QkNorm.PER_HEAD), scale=1.0)
    full: FullAttention = replace(
        local,
        rope=ropes[FULL],
        head_dim=wide,
        v_head_dim=wide,
        num_kv_heads=global_heads if same else sizes.num_kv_heads,
        keys_are_values=same,
    )
    return {FULL: full, SLIDING: sizes.windowed(local, config.take("sliding_window", int))}


def _expect_wide_where_full(config: StrictConfig, sizes: Sizes, wide: int) -> None:
    """transformers 5 writes the global head size layer by layer, as `per_layer_config` ("05": {"head_dim": 512})."""
    given = optional_dict(config, "per_layer_config")
    kinds = optional_list(config, "layer_types") or every(6, sizes.num_layers)
    if given is None:
        return
    said = {int(index): dict(values) for index, values in given.items()}
    meant = {index: {"head_dim": wide} for index, kind in enumerate([*kinds[:-1], FULL]) if kind == FULL}
    if said != meant:
        raise UnsupportedModel(
            f"{config.source}: 'per_layer_config' says more than a head_dim of {wide} on full layers."
        )


def _ropes(config: StrictConfig, sizes: Sizes, wide: int) -> dict[str, Rope]:
    if "rope_parameters" in config:
        return read_rope_by_kind(
            config,
            head_dims={FULL: wide, SLIDING: sizes.head_dim},
            max_context_tokens=sizes.max_context_tokens,
        )
    given = {
        FULL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        SLIDING: {"rope_type": "default", "rope_theta": 1e4},
    }
    return read_rope_by_kind(
        StrictConfig({"rope_parameters": given}, config.source),
        head_dims={FULL: wide, SLIDING: sizes.head_dim},
        max_context_tokens=sizes.max_context_tokens,
    )


def _mlps(config: StrictConfig, sizes: Sizes, num_shared: int) -> list[Mlp]:
    """Layers without a cache of their own may be twice as wide."""
    has_experts = config.take("enable_moe_block", bool, False)
    factor = 2 if config.take("use_double_wide_mlp", bool, False) else 1
    wide = replace(sizes.mlp, intermediate_size=factor * sizes.intermediate_size)
    dense: list[GatedMlp] = [sizes.mlp] * (sizes.num_layers - num_shared) + [wide] * num_shared
    num_experts, top_k = config.take_optional("num_experts", int), config.take_optional("top_k_experts", int)
    width = config.take_optional("moe_intermediate_size", int) or config.take_optional("expert_intermediate_size", int)
    config.take_optional("expert_intermediate_size", int)
    if not (has_experts and num_experts and top_k and width):
        return list(dense)
    experts = ExpertsMlp(num_experts=num_experts, top_k=top_k, intermediate_size=width, activation=sizes.activation)
    return [ParallelMlp(dense=one, experts=experts) for one in dense]


FAMILIES.register("gemma4")(
    Family(
        name="gemma4",
        architectures=("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM", "gemma4", "gemma4_text"),
        reader=read,
        parts=("num_kv_shared_layers",),
    )
)
