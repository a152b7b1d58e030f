"""Levers laid over a model: overrides of its spec, made before any layout is built, so plan and engine see the same."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.lever import HINT, lever
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import parse_rope_override


def with_rope(spec: ModelSpec, override: str) -> ModelSpec:
    """The spec with another RoPE scaling on every layer that has one, and the window that the scaling claims.

    Raises BadInput for an override that cannot be read.
    """
    context = spec.max_context_tokens
    layers: list[LayerSpec] = []
    for layer in spec.layers:
        attention = layer.attention
        # A window never looks further back than it was trained for, so only unbounded layers are scaled.
        if isinstance(attention, SoftmaxAttention) and attention.rope is not None and attention.window is None:
            rope = parse_rope_override(override, attention.rope, spec.max_context_tokens)
            context = max(context, rope.scaling.extends(spec.max_context_tokens))
            attention = replace(attention, rope=rope)
        layers.append(replace(layer, attention=attention))
    return replace(spec, layers=tuple(layers), max_context_tokens=context)


def with_attention(spec: ModelSpec, override: str) -> ModelSpec:
    """The spec with a lever over its layers of full attention: "full=sinks:4+window:4096" (see attention/lever.py).

    Raises BadInput for one that cannot be read, or where no layer has full attention.
    """
    kind, equals, text = override.partition("=")
    if kind != "full" or not equals:
        raise BadInput(f"{override!r} is no attention lever.", HINT)
    if not any(isinstance(layer.attention, FullAttention) for layer in spec.layers):
        raise BadInput(
            f"{spec.name} has no layers of full attention; its layers are {', '.join(spec.kinds)}.",
            "Levers lie over full attention only.",
        )
    layers = (
        replace(layer, attention=lever(text, layer.attention)) if isinstance(layer.attention, FullAttention) else layer
        for layer in spec.layers
    )
    return replace(spec, layers=tuple(layers))
