"""The bytes behind the block pools, plane by plane as the CacheLayout declares them.

A plane of a group is one array of bytes [layers, num_blocks, bytes of a block]. What lies inside a block is the
business of who computes: the torch path keeps row after row (a token's heads side by side); native kernels arrange the
same bytes head by head. Nobody reads what the other wrote. There is no torch here: importing it costs a process most
of a second and some 190 MiB, and native kernels need addresses only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from windowtax.ops.pages import aligned_zeros
from windowtax.spec.cache import CacheLayout, LayerCache


class PlaneStore:
    """planes: per group and plane name, an array of bytes [layers of the group, num_blocks, bytes of a block]."""

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int]) -> None:
        self.layout = layout
        self.planes: list[dict[str, Any]] = []
        for group, count in zip(layout.groups, num_blocks, strict=True):
            rows = rows_per_block(group.cache, layout.block_size)
            shapes = {plane.name: (len(group.layers), count, rows * plane.unit_bytes) for plane in group.cache.planes}
            self.planes.append({name: self._zeros(shape) for name, shape in shapes.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all planes: what "allocated" means on the bill."""
        return sum(plane.nbytes for group in self.planes for plane in group.values())

    def groups_of(self, layer: int, name: str) -> list[int]:
        """The groups that keep a plane of that name for this layer; sinks first where they are kept apart."""
        found = [
            index
            for index, group in enumerate(self.layout.groups)
            if layer in group.layers and name in self.planes[index]
        ]
        return sorted(found, key=lambda index: self.layout.groups[index].cache.keep_first is None)

    def block_bytes(self, group: int, block_id: int) -> bytes:
        """Everything that one block holds: plane after plane as the layout names them, in each layer after layer."""
        return b"".join(self._array(plane[:, block_id]).tobytes() for plane in self.planes[group].values())

    def put_block_bytes(self, group: int, block_id: int, data: bytes | bytearray | memoryview) -> None:
        """Fills a block with what `block_bytes` gave for one of its group; from any thread, if the block is its own."""
        source, begin = np.frombuffer(data, np.uint8), 0
        for plane in self.planes[group].values():
            part = plane[:, block_id]
            self._fill(part, source[begin : begin + part.nbytes].reshape(part.shape))
            begin += part.nbytes

    def copy_block(self, group: int, source: int, target: int) -> None:
        """Makes one block of a group what another one is: every plane, in every layer."""
        for plane in self.planes[group].values():
            plane[:, target] = plane[:, source]

    def _zeros(self, shape: tuple[int, ...]) -> Any:
        """A plane: an array of numpy, unless who computes wants another."""
        return aligned_zeros(shape)

    def _array(self, part: Any) -> NDArray[np.uint8]:
        return part

    def _fill(self, part: Any, values: NDArray[np.uint8]) -> None:
        part[...] = values


def rows_per_block(cache: LayerCache, block_size: int) -> int:
    """Rows that one block of a part has: tokens, summaries, or one state."""
    return 1 if cache.is_state else cache.block_tokens(block_size) // cache.stride
