"""Phi-3, 3.5 and 4 (Abdin et al. 2024, arXiv 2404.14219, 2412.08905): q, k, v in one matrix, gate and up in another.

Phi-3-mini-4k slides a window of 2,047 tokens over every layer; Phi-4-mini rotates a part of each head; the 128k
versions take LongRoPE.
"""

from dataclasses import replace

from windowtax.base.errors import UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import Sizes, read_gguf_sizes, read_sizes
from windowtax.catalog.typed import optional_dict, optional_list
from windowtax.catalog.weight_names import GGUF_NAMES, HF_NAMES, Rows
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope, read_rope


def read(config: StrictConfig) -> ModelSpec:
    """Configs of 2024 call LongRoPE "su", which is read, or even "yarn", which is refused."""
    sizes = read_sizes(config)
    config.expect("attention_bias", False)
    config.expect("mlp_bias", False)
    scaling = optional_dict(config, "rope_scaling")
    if scaling and "yarn" in (scaling.get("type"), scaling.get("rope_type")):
        raise UnsupportedModel(f"{config.source}: Phi-3's 'yarn' of early 2024 is LongRoPE under a wrong name.")
    rope = sizes.rope(config)
    return _build(sizes, rope, config.take_optional("sliding_window", int))


def read_gguf(metadata: StrictConfig) -> ModelSpec:
    """LongRoPE's divisors come as two tensors, its attention factor as metadata."""
    sizes = read_gguf_sizes(metadata)
    original = metadata.take("rope.scaling.original_context_length", int, sizes.max_context_tokens)
    long, short = (optional_list(metadata, f"file.rope_{which}_factors") for which in ("long", "short"))
    scaling = None
    if long is not None and short is not None:
        scaling = {
            "rope_type": "longrope",
            "long_factor": long,
            "short_factor": short,
            "attention_factor": metadata.take_optional("rope.scaling.attn_factor", float),
            "original_max_position_embeddings": original,
        }
    theta = metadata.take("rope.freq_base", float, 1e4)
    rotary_dim = metadata.take("rope.dimension_count", int, sizes.head_dim)
    config = StrictConfig({"rope_theta": theta, "rope_scaling": scaling}, metadata.source)
    rope = read_rope(config, head_dim=rotary_dim, max_context_tokens=sizes.max_context_tokens)
    return _build(sizes, rope, metadata.take_optional("attention.sliding_window", int))


def _build(sizes: Sizes, rope: Rope, window: int | None) -> ModelSpec:
    attention = sizes.windowed(sizes.attention(rope), window or None)
    return sizes.model("phi3", [LayerSpec(attention=attention, mlp=sizes.mlp)] * sizes.num_layers)


def _attention_rows(part: str) -> Rows:
    def rows(layer: LayerSpec) -> tuple[int, int]:
        attention = layer.attention
        assert isinstance(attention, SoftmaxAttention)
        queries, keys = attention.num_query_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim
        return {"q": (0, queries), "k": (queries, queries + keys), "v": (queries + keys, queries + 2 * keys)}[part]

    return rows


def _mlp_rows(part: int) -> Rows:
    def rows(layer: LayerSpec) -> tuple[int, int]:
        assert isinstance(layer.mlp, GatedMlp)
        return part * layer.mlp.intermediate_size, (part + 1) * layer.mlp.intermediate_size

    return rows


def _fused(qkv: str, gate_up: str) -> dict[str, tuple[str, Rows]]:
    attention = {f"attention.{part}": (qkv, _attention_rows(part)) for part in "qkv"}
    return {**attention, "mlp.gate": (gate_up, _mlp_rows(0)), "mlp.up": (gate_up, _mlp_rows(1))}


FAMILIES.register("phi3")(
    Family(
        name="phi3",
        architectures=("Phi3ForCausalLM", "phi3"),
        runs=True,
        reader=read,
        hf_names=replace(
            HF_NAMES,
            layer={**HF_NAMES.layer, **_fused("self_attn.qkv_proj.weight", "mlp.gate_up_proj.weight")},
        ),
        gguf_architectures=("phi3",),
        gguf_reader=read_gguf,
        gguf_names=replace(GGUF_NAMES, layer={**GGUF_NAMES.layer, **_fused("attn_qkv.weight", "ffn_up.weight")}),
    )
)
