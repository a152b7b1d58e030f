"""Qwen3-Next, Qwen3.5 and 3.6 (Qwen team 2025 and 2026): three layers of Gated DeltaNet to one of gated full attention.

With experts beside one shared expert that has a gate (qwen3_next), or dense (qwen3_5). Vision and prediction layers are
no part of the decoder.
"""

from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.latent import draft_layers
from windowtax.catalog.layer_types import FULL, LINEAR, by_type, every, read_layer_types
from windowtax.catalog.qwen_experts import read_qwen_experts
from windowtax.catalog.sizes import Sizes, read_sizes, state_element
from windowtax.catalog.weight_names import HF_NAMES, Rows
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.gated_delta import GatedDelta
from windowtax.spec.attention.softmax import QkNorm
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import read_rope


def read(config: StrictConfig) -> ModelSpec:
    """Full attention stands in `layer_types`, or on every `full_attention_interval`-th layer."""
    has_experts = "num_experts" in config or "num_local_experts" in config
    sizes = read_sizes(config, {"intermediate_size": 0} if has_experts else None)
    interval = config.take("full_attention_interval", int, 4)
    kinds = read_layer_types(config, sizes.num_layers) or every(interval, sizes.num_layers, LINEAR)
    known: dict[str, AttentionKind] = {FULL: _full(config, sizes), LINEAR: _delta(config)}
    attention = by_type(config, kinds, known)
    if not has_experts:
        config.expect("mlp_only_layers", [])
    mlps = read_qwen_experts(config, sizes) if has_experts else [sizes.mlp] * sizes.num_layers
    layers = [LayerSpec(attention=a, mlp=m) for a, m in zip(attention, mlps, strict=True)]
    config.expect("mtp_use_dedicated_embeddings", False)
    draft = LayerSpec(attention=known[FULL], mlp=mlps[-1])
    return replace(
        sizes.model("qwen3_next" if has_experts else "qwen3_5", layers),
        norm_unit_offset=True,
        draft_layers=draft_layers(config, "mtp_num_hidden_layers", draft, sizes.hidden_size),
    )


def _full(config: StrictConfig, sizes: Sizes) -> AttentionKind:
    config.expect("attention_bias", False)
    config.expect("use_sliding_window", False)
    config.expect("output_gate_type", "sigmoid", "swish", "silu")
    rope = read_rope(
        config,
        head_dim=sizes.head_dim,
        max_context_tokens=sizes.max_context_tokens,
        default_theta=1e7,
        default_partial_rotary_factor=0.25,
    )
    gated = config.take("attn_output_gate", bool, True)
    return replace(sizes.attention(rope, qk_norm=QkNorm.PER_HEAD), output_gate=gated)


def _delta(config: StrictConfig) -> GatedDelta:
    return GatedDelta(
        num_key_heads=config.take("linear_num_key_heads", int),
        num_value_heads=config.take("linear_num_value_heads", int),
        key_head_dim=config.take("linear_key_head_dim", int),
        value_head_dim=config.take("linear_value_head_dim", int),
        conv_kernel=config.take("linear_conv_kernel_dim", int),
        state_element=state_element(config, "mamba_ssm_dtype"),
    )


def _head_rows(part: int) -> Rows:
    """Each head's queries lie before its gate."""

    def rows(layer: LayerSpec) -> tuple[int, int]:
        assert isinstance(layer.attention, FullAttention)
        return part * layer.attention.head_dim, (part + 1) * layer.attention.head_dim

    return rows


_HF_NAMES = replace(
    HF_NAMES,
    layer={
        **HF_NAMES.layer,
        "attention.q": ("self_attn.q_proj.weight", _head_rows(0)),
        "attention.gate": ("self_attn.q_proj.weight", _head_rows(1)),
    },
    kinds={
        "gated_delta": {
            "attention.qkv": "linear_attn.in_proj_qkv.weight",
            "attention.z": "linear_attn.in_proj_z.weight",
            "attention.beta": "linear_attn.in_proj_b.weight",
            "attention.decay": "linear_attn.in_proj_a.weight",
            "attention.conv": "linear_attn.conv1d.weight",
            "attention.dt_bias": "linear_attn.dt_bias",
            "attention.a_log": "linear_attn.A_log",
            "attention.out_norm": "linear_attn.norm.weight",
            "attention.o": "linear_attn.out_proj.weight",
        }
    },
)

FAMILIES.register("qwen3_5")(
    Family(
        name="qwen3_5",
        architectures=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration", "qwen3_5", "qwen3_5_text"),
        runs=True,
        reader=read,
        hf_names=_HF_NAMES,
        nested_prefix="model.language_model.",
        parts=("linear_num_value_heads",),
    )
)
FAMILIES.register("qwen3_next")(
    Family(
        name="qwen3_next",
        architectures=(
            "Qwen3NextForCausalLM",
            "qwen3_next",
            "Qwen3_5MoeForCausalLM",
            "Qwen3_5MoeForConditionalGeneration",
            "qwen3_5_moe",
            "qwen3_5_moe_text",
        ),
        reader=read,
        ignorable=ROUTING,
        parts=("linear_num_value_heads",),
    )
)
