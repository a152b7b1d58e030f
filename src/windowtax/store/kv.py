"""The KV store of the torch path: the planes of store/planes.py as rows of vectors, which codecs write and read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.ops.pages import aligned_zeros
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.planes import Plane
from windowtax.store.codecs.base import Codec, codec_of
from windowtax.store.extent import Extent
from windowtax.store.planes import PlaneStore

_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)
"""torch moves rows number by number, so they are moved in the widest that divides them."""


class Rows:
    """One plane of one layer, as rows of bytes. span: tokens per row, where these are fewer than tokens."""

    def __init__(self, blocks: Tensor, plane: Plane) -> None:
        self.span, self.row_bytes = plane.span, plane.row_bytes
        word = next(word for word in _WORDS if plane.row_bytes % word.itemsize == 0)
        self._blocks = blocks.view(word)
        self._rows = self._blocks.view(-1, plane.row_bytes // word.itemsize)

    def put(self, slots: Tensor, values: Tensor) -> None:
        """Stores values [T / span, ...] at the pool's slots [T]."""
        if self.span > 1:
            slots = slots[:: self.span] // self.span
        words = values.flatten(1).contiguous().view(self._rows.dtype)
        self._rows.index_copy_(0, slots, words)

    def take(self, extent: Extent) -> Tensor:
        """The bytes of an extent, oldest row first: a view where its blocks are neighbours."""
        count = extent.num_rows // self.span
        if extent.blocks is None:
            begin = extent.begin // self.span
            return self._rows[begin : begin + count].view(torch.uint8)
        gathered = self._blocks.index_select(0, extent.blocks)
        return gathered.view(-1, self._rows.shape[1])[:count].view(torch.uint8)


@dataclass(frozen=True, slots=True)
class Vectors:
    """One named vector per row of a layer, such as k: its planes (codes, and scales if any) and their codec."""

    shape: tuple[int, ...]
    codec: Codec
    planes: tuple[Rows, ...]

    def write(self, slots: Tensor, values: Tensor) -> None:
        """Stores values [T, *shape] at the pool's slots [T]; whole spans where scales are shared."""
        for rows, encoded in zip(self.planes, self.codec.encode(values), strict=True):
            rows.put(slots, encoded)

    def as_kept(self, values: Tensor) -> Tensor:
        """Values [T, ...] as they would be read again; for planes without scales."""
        (codes,) = self.codec.encode(values)
        return self.codec.decode([codes.contiguous().view(torch.uint8)], values.shape[1:])

    def read(self, extent: Extent) -> Tensor:
        """The rows of an extent [num_rows, *shape], oldest first."""
        return self.codec.decode([rows.take(extent) for rows in self.planes], self.shape)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of one layer's cache: rows of tokens, of summaries, or a state.

    group: its layer group. row: which of the group's layers it is. vectors: what it keeps, by name.
    """

    group: int
    row: int
    cache: LayerCache
    vectors: dict[str, Vectors]


class KVStore(PlaneStore):
    """The same planes as tensors on a device, and the vectors in them.

    Raises BadInput for a cache that the torch path cannot store.
    """

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int], device: torch.device) -> None:
        refuse_unstorable(layout)
        self._device = device
        super().__init__(layout, num_blocks)
        self._parts: dict[tuple[int, int], Part] = {}
        for index, group in enumerate(layout.groups):
            for row, layer in enumerate(group.layers):
                vectors = _vectors(group.cache, self.planes[index], row)
                self._parts[layer, index] = Part(index, row, group.cache, vectors)

    def parts(self, layer: int, name: str) -> tuple[Part, ...]:
        """The parts of a layer that keep vectors of that name ("k", "v", "k_tail", "block_min", "state" ...).

        One, but where sinks and a window are kept apart: the sinks first then. None where it keeps no such thing.
        """
        return tuple(self._parts[layer, group] for group in self.groups_of(layer, name))

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        if self._device.type == "cpu":
            return torch.from_numpy(aligned_zeros(shape))
        return torch.zeros(shape, dtype=torch.uint8, device=self._device)

    def _array(self, part: Tensor) -> NDArray[np.uint8]:
        return part.cpu().numpy()

    def _fill(self, part: Tensor, values: NDArray[np.uint8]) -> None:
        if part.is_cpu:
            part.numpy()[...] = values
        else:
            part.copy_(torch.tensor(values))


def refuse_unstorable(layout: CacheLayout) -> None:
    """Raises BadInput for a layout that the store does not keep: it names what, and what to do."""
    for group in layout.groups:
        for data, scale in _paired(group.cache):
            codec = codec_of(data, scale)
            if layout.block_size % codec.span:
                raise BadInput(
                    f"Blocks of {layout.block_size} tokens do not hold whole scales of {data.name}, which are made "
                    f"over {codec.span} tokens.",
                    f"Take a block size that {codec.span} divides.",
                )


def _paired(cache: LayerCache) -> Iterator[tuple[Plane, Plane | None]]:
    """Each plane of codes with its plane of scales, if it has one."""
    planes = {plane.name: plane for plane in cache.planes}
    for name, plane in planes.items():
        if not name.endswith("_scale"):
            yield plane, planes.get(f"{name}_scale")


def _vectors(cache: LayerCache, tensors: dict[str, Tensor], row: int) -> dict[str, Vectors]:
    return {
        data.name: Vectors(
            data.shape,
            codec_of(data, scale),
            tuple(Rows(tensors[plane.name][row], plane) for plane in (data, scale) if plane is not None),
        )
        for data, scale in _paired(cache)
    }
