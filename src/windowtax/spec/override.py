"""Levers laid over a model: overrides of its spec, made before any layout is built, so plan and engine see the same."""

from dataclasses import replace

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
