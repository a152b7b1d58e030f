"""Putting a decoder together from parts that were read: the same few steps in every family's reader."""

from collections.abc import Sequence
from dataclasses import replace

from windowtax.base.strict import StrictConfig
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, read_layer_types
from windowtax.catalog.sizes import Sizes
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.mlp import Mlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.spec.weights import Weight


def stack(
    family: str,
    sizes: Sizes,
    attention: Sequence[AttentionKind] | AttentionKind,
    mlps: Sequence[Mlp] | Mlp,
    norms: NormPlacement = NormPlacement.PRE,
) -> ModelSpec:
    """The model of these parts; one part alone stands in every layer."""
    kinds = attention if isinstance(attention, Sequence) else [attention] * sizes.num_layers
    parts = mlps if isinstance(mlps, Sequence) else [mlps] * sizes.num_layers
    return sizes.model(family, [LayerSpec(attention=a, mlp=m, norms=norms) for a, m in zip(kinds, parts, strict=True)])


def full_or_sliding(
    config: StrictConfig,
    sizes: Sizes,
    full: FullAttention,
    pattern: Sequence[str] | None = None,
    local: FullAttention | None = None,
) -> list[SoftmaxAttention]:
    """The attention of each layer, from `layer_types` and `sliding_window`; from the pattern where there is no list.

    local: the attention that slides, where it differs in more than its window. Raises UnsupportedModel for a type
    that is neither.
    """
    kinds = read_layer_types(config, sizes.num_layers) or pattern or [FULL] * sizes.num_layers
    window = config.take_optional("sliding_window", int)
    return by_type(config, kinds, {FULL: full, SLIDING: sizes.windowed(local or full, window)})


def some(flags: Sequence[bool], then: Mlp, otherwise: Mlp) -> list[Mlp]:
    """`then` on the flagged layers."""
    return [then if flag else otherwise for flag in flags]


def with_norm_biases(spec: ModelSpec) -> ModelSpec:
    """The model with LayerNorm in place of RMS norm: each norm of a layer, and the last one, has a bias too."""
    wide = spec.hidden_size
    layers = [
        replace(
            layer,
            extra_weights=(
                *layer.extra_weights,
                *(
                    Weight(f"{weight.name}_bias", weight.shape)
                    for weight in layer.weights(wide)
                    if "." not in weight.name and weight.name.endswith("_norm")
                ),
            ),
        )
        for layer in spec.layers
    ]
    return replace(spec, layers=tuple(layers), extra_weights=(*spec.extra_weights, Weight("norm_bias", (wide,))))
