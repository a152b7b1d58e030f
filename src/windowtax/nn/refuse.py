"""What no decoder here computes, refused alike by both."""

from windowtax.base.errors import UnsupportedModel
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement


def refuse_uncomputed(model: ModelSpec, layer: LayerSpec) -> None:
    """Raises UnsupportedModel for parts of a layer that this version plans but does not compute."""
    attention = layer.attention
    missing = [
        name
        for name, present in (
            ("a mixture of experts", not isinstance(layer.mlp, GatedMlp)),
            ("sink logits", isinstance(attention, SoftmaxAttention) and attention.sink_logits),
            ("attention and MLP side by side", layer.norms is NormPlacement.PARALLEL),
            (
                "query/key norms without weights",
                isinstance(attention, SoftmaxAttention) and attention.qk_norm is QkNorm.UNWEIGHTED,
            ),
        )
        if present
    ]
    if missing:
        raise UnsupportedModel(
            f"{model.name} has {' and '.join(missing)}, which this version plans but does not compute.",
            f"`windowtax plan {model.name}` works; `windowtax models list` names models that run.",
        )
