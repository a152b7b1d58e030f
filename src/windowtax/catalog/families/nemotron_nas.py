"""Llama-Nemotron (NVIDIA 2025, arXiv 2505.00949): a Llama whose layers a search thinned out one by one (Puzzle, arXiv
2411.19146). `block_configs` says of each layer whether its attention is there, with how many query heads per KV head,
and how wide its feed-forward part is. The top level's `num_key_value_heads` and `intermediate_size` are null."""

from dataclasses import replace
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.catalog.typed import optional_dict, required_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.none import NoAttention
from windowtax.spec.mlp import GatedMlp, Mlp, NoMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope

_STEP = 256


def read(config: StrictConfig) -> ModelSpec:
    """Widths follow from `ffn_mult` as the model's own code has it: 2/3 of ffn_mult * hidden_size, up to 256."""
    sizes = read_sizes(config, {"rms_norm_eps": 1e-5}, intermediate_size=0)
    config.expect("intermediate_size")
    config.expect("attention_bias", False)
    config.expect("mlp_bias", False)
    rope = sizes.rope(config, theta=5e5)
    blocks = required_list(config, "block_configs", sizes.num_layers)
    return sizes.model("nemotron_nas", [_layer(config, sizes, rope, i, block) for i, block in enumerate(blocks)])


def _layer(config: StrictConfig, sizes: Sizes, rope: Rope, index: int, block: object) -> LayerSpec:
    source = f"{config.source}, block {index}"
    if not isinstance(block, dict):
        raise BadInput(f"{source}: an object was expected.")
    parts = StrictConfig(cast("dict[str, Any]", block), source)
    attention = StrictConfig(optional_dict(parts, "attention") or {}, f"{source}, attention")
    ffn = StrictConfig(optional_dict(parts, "ffn") or {}, f"{source}, ffn")
    parts.expect("parallel_blocks")
    found = LayerSpec(attention=_attention(attention, sizes, rope), mlp=_mlp(ffn, sizes))
    for part in (attention, ffn, parts):
        part.finish()
    return found


def _attention(config: StrictConfig, sizes: Sizes, rope: Rope) -> AttentionKind:
    for key in ("llama4", "mamba", "num_sink_tokens", "sparsify", "window_length"):
        config.expect(key)
    for key in ("unshifted_sink", "use_prefill_window_in_sink_attention"):
        config.expect(key, False)
    linear, absent = config.take("replace_with_linear", bool, False), config.take("no_op", bool, False)
    group = config.take_optional("n_heads_in_group", int)
    if linear or absent:
        return NoAttention(linear=linear)
    if not group or sizes.num_query_heads % group:
        raise BadInput(
            f"{config.source}: 'n_heads_in_group' is {group}, which does not divide {sizes.num_query_heads}."
        )
    return replace(sizes.attention(rope), num_kv_heads=sizes.num_query_heads // group)


def _mlp(config: StrictConfig, sizes: Sizes) -> Mlp:
    for key in ("moe", "sparsify"):
        config.expect(key)
    config.expect("gated", True)
    config.expect("hidden_act", "silu")
    linear, absent = config.take("replace_with_linear", bool, False), config.take("no_op", bool, False)
    mult, named = config.take_optional("ffn_mult", float), config.take_optional("intermediate_size", int)
    if linear or absent:
        return NoMlp(linear=linear)
    if named:
        return GatedMlp(intermediate_size=named, activation=sizes.activation)
    if not mult:
        raise BadInput(f"{config.source}: 'ffn_mult' is missing.")
    width = int(2 * mult * sizes.hidden_size / 3)
    return GatedMlp(intermediate_size=-(-width // _STEP) * _STEP, activation=sizes.activation)


FAMILIES.register("nemotron_nas")(
    Family(name="nemotron_nas", architectures=("DeciLMForCausalLM", "nemotron-nas"), reader=read)
)
