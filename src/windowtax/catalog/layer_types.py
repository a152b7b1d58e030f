"""Which layer attends how: the list `layer_types`, the patterns that stand in for it, and the lookup by type."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.base import AttentionKind

A = TypeVar("A", bound=AttentionKind)

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
LINEAR = "linear_attention"
"""The words of transformers' configs."""


def read_layer_types(config: StrictConfig, num_layers: int) -> list[str] | None:
    """The list `layer_types`, or None where there is none. Raises BadInput on a list of another length."""
    kinds = optional_list(config, "layer_types")
    if kinds is not None and len(kinds) != num_layers:
        raise BadInput(f"{config.source}: 'layer_types' names {len(kinds)} layers, but there are {num_layers}.")
    return kinds


def every(period: int, num_layers: int, others: str = SLIDING) -> list[str]:
    """Full attention on every `period`-th layer, counted from 1; `others` on the rest."""
    return [others if (index + 1) % period else FULL for index in range(num_layers)]


def by_type(config: StrictConfig, kinds: Sequence[str], known: Mapping[str, A]) -> list[A]:
    """The attention of each layer. Raises UnsupportedModel for a type that this family does not know."""
    if unknown := sorted(set(kinds) - set(known)):
        raise UnsupportedModel(
            f"{config.source}: {', '.join(unknown)} among the layer types is not known in this family.",
            f"Known: {', '.join(known)}.",
        )
    return [known[kind] for kind in kinds]
