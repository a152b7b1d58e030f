"""Changes of a model's layers that several techniques make."""

from collections.abc import Callable
from dataclasses import fields, replace

from windowtax.base.errors import BadInput
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec

MLA_RANK, MLA_ROPE, MLA_NOPE, MLA_VALUE, MLA_QUERY_RANK = 512, 64, 128, 128, 1536
"""DeepSeek-V2 and V3 (arXiv 2405.04434; config.json)."""


def each_attention(spec: ModelSpec, change: Callable[[int, AttentionKind], AttentionKind]) -> ModelSpec:
    """The model with change(index, attention) in every layer."""
    layers = tuple(replace(layer, attention=change(index, layer.attention)) for index, layer in enumerate(spec.layers))
    return replace(spec, layers=layers)


def softmax_fields(kind: SoftmaxAttention) -> dict[str, object]:
    """What all softmax kinds have, to make another one of it."""
    return {field.name: getattr(kind, field.name) for field in fields(SoftmaxAttention)}


def as_full(kind: AttentionKind) -> AttentionKind:
    """Full attention with the same heads; other kinds than softmax ones stay."""
    return FullAttention(**softmax_fields(kind)) if isinstance(kind, SoftmaxAttention) else kind  # pyright: ignore[reportArgumentType]


def reads_all(kind: AttentionKind) -> bool:
    """Whether it is a softmax kind without window and chunk."""
    return isinstance(kind, SoftmaxAttention) and kind.window is None and kind.chunk is None


def need_softmax(spec: ModelSpec, what: str) -> list[SoftmaxAttention]:
    """The layers that read the whole context with heads of their own. Raises BadInput where there are none."""
    found = [layer.attention for layer in spec.layers if isinstance(layer.attention, SoftmaxAttention)]
    found = [kind for kind in found if reads_all(kind)]
    if not found:
        raise BadInput(
            f"{spec.name} has no layer of ordinary attention over the whole context for {what} to change.",
            "Try it on a model such as llama-3.1-70b.",
        )
    return found


def with_kv_heads(spec: ModelSpec, heads: Callable[[SoftmaxAttention], int]) -> ModelSpec:
    """The model with so many KV heads in each softmax layer; its k and v matrices change with them."""

    def change(_: int, kind: AttentionKind) -> AttentionKind:
        return replace(kind, num_kv_heads=heads(kind)) if isinstance(kind, SoftmaxAttention) else kind

    return each_attention(spec, change)


def as_latent(kind: AttentionKind) -> AttentionKind:
    """MLA of DeepSeek-V3's row in the place of a layer that reads the whole context."""
    if not isinstance(kind, SoftmaxAttention) or not reads_all(kind):
        return kind
    return LatentAttention(
        num_query_heads=kind.num_query_heads,
        kv_lora_rank=MLA_RANK,
        qk_nope_head_dim=MLA_NOPE,
        qk_rope_head_dim=MLA_ROPE,
        v_head_dim=MLA_VALUE,
        q_lora_rank=MLA_QUERY_RANK,
        rope=None,
    )
