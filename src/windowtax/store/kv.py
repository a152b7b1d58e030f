"""The KV store: the tensors behind the block pools, plane by plane as the CacheLayout declares them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.ops.dtypes import TORCH_DTYPES
from windowtax.spec.cache import CacheLayout


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the held tokens of one sequence lie in a group's pool.

    first: position of the first held token. num_tokens: how many are held from there. blocks: the ids of their
    blocks, or None where these follow each other, so that the tokens are one slice that begins at slot `begin`.
    """

    first: int
    num_tokens: int
    begin: int
    blocks: Tensor | None

    @classmethod
    def of(
        cls, block_ids: Sequence[int], first: int, num_tokens: int, block_size: int, device: torch.device
    ) -> "Extent":
        """first: the position at which the first block begins."""
        consecutive = block_ids[-1] - block_ids[0] == len(block_ids) - 1 and all(
            b == a + 1 for a, b in itertools.pairwise(block_ids)
        )
        blocks = None if consecutive else torch.tensor(block_ids, device=device)
        return cls(first, num_tokens, block_ids[0] * block_size, blocks)


class KVStore:
    """One tensor [layers of the group, num_blocks, block_size, *shape] per group and plane.

    Raises BadInput for a cache dtype whose elements the engine does not store yet.
    """

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int], device: torch.device) -> None:
        self.layout = layout
        self.planes: list[dict[str, Tensor]] = []
        self._place: dict[int, tuple[int, int]] = {}
        for index, (group, count) in enumerate(zip(layout.groups, num_blocks, strict=True)):
            self._place.update({layer: (index, row) for row, layer in enumerate(group.layers)})
            self.planes.append(
                {
                    plane.name: torch.zeros(
                        (len(group.layers), count, layout.block_size, *plane.shape),
                        dtype=_storable(plane.element),
                        device=device,
                    )
                    for plane in group.cache.planes
                }
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors: what "allocated" means on the bill."""
        return sum(tensor.nbytes for group in self.planes for tensor in group.values())

    def group_of(self, layer: int) -> int:
        """The group that a layer belongs to."""
        return self._place[layer][0]

    def write(self, layer: int, plane: str, slots: Tensor, values: Tensor) -> None:
        """Stores values [T, *shape] at the pool's slots [T]."""
        flat = self._flat(layer, plane)
        flat.index_copy_(0, slots, values.to(flat.dtype))

    def read(self, layer: int, plane: str, extent: Extent) -> Tensor:
        """The held tokens of a sequence [num_tokens, *shape], oldest first: a view where its blocks are neighbours."""
        flat = self._flat(layer, plane)
        if extent.blocks is None:
            return flat[extent.begin : extent.begin + extent.num_tokens]
        group, row = self._place[layer]
        gathered = self.planes[group][plane][row].index_select(0, extent.blocks)
        return gathered.flatten(0, 1)[: extent.num_tokens]

    def _flat(self, layer: int, plane: str) -> Tensor:
        group, row = self._place[layer]
        return self.planes[group][plane][row].flatten(0, 1)


def refuse_unstorable(layout: CacheLayout) -> None:
    """Raises BadInput for a layout with elements that the store does not keep yet."""
    for group in layout.groups:
        for plane in group.cache.planes:
            _storable(plane.element)


def _storable(element: str) -> torch.dtype:
    if element not in TORCH_DTYPES:
        raise BadInput(
            f"The engine does not store a cache of {element} yet; plans know it.",
            f"Use --cache-dtype {', '.join(TORCH_DTYPES)}.",
        )
    return TORCH_DTYPES[element]
