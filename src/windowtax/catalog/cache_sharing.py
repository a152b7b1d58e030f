"""Layers that read the cache of an earlier layer: the last `num_kv_shared_layers` of Gemma 3n and Gemma 4."""

from collections.abc import Sequence

from windowtax.base.errors import BadInput
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.shared import SharedAttention
from windowtax.spec.attention.softmax import SoftmaxAttention


def share_last(
    attention: Sequence[SoftmaxAttention], kinds: Sequence[str], num_shared: int, source: str
) -> list[AttentionKind]:
    """The last `num_shared` layers without a cache of their own: each reads that of the last owner of its kind.

    Raises BadInput where no layer of a kind owns one.
    """
    owners = len(attention) - num_shared
    if owners < 1 or set(kinds[owners:]) - set(kinds[:owners]):
        raise BadInput(
            f"{source}: {num_shared} of {len(kinds)} layers share a cache that no earlier layer of their kind has."
        )
    return [*attention[:owners], *(SharedAttention(source=one) for one in attention[owners:])]
