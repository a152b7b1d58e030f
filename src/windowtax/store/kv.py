"""The KV store: the bytes behind the block pools, plane by plane as the CacheLayout declares them.

A plane of a group is one tensor of bytes [layers, num_blocks, bytes of a block]. What lies inside a block is the
business of who computes: the torch path keeps row after row (a token's heads side by side); native kernels arrange the
same bytes head by head. Nobody reads what the other wrote.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.ops.pages import prefer_huge_pages
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.planes import Plane
from windowtax.store.codecs.base import Codec, codec_of
from windowtax.store.extent import Extent

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


class KVStore:
    """planes: per group and plane name, a tensor of bytes [layers of the group, num_blocks, bytes of a block].

    Raises BadInput for a cache that the engine cannot store.
    """

    def __init__(self, layout: CacheLayout, num_blocks: Sequence[int], device: torch.device) -> None:
        refuse_unstorable(layout)
        self.layout = layout
        self.planes: list[dict[str, Tensor]] = []
        self._parts: dict[int, list[Part]] = {}
        for index, (group, count) in enumerate(zip(layout.groups, num_blocks, strict=True)):
            rows = rows_per_block(group.cache, layout.block_size)
            tensors = {
                plane.name: _zeros((len(group.layers), count, rows * plane.unit_bytes), device)
                for plane in group.cache.planes
            }
            self.planes.append(tensors)
            for row, layer in enumerate(group.layers):
                part = Part(index, row, group.cache, _vectors(group.cache, tensors, row))
                self._parts.setdefault(layer, []).append(part)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors: what "allocated" means on the bill."""
        return sum(tensor.nbytes for group in self.planes for tensor in group.values())

    def parts(self, layer: int, name: str) -> tuple[Part, ...]:
        """The parts of a layer that keep vectors of that name ("k", "v", "k_tail", "block_min", "state" ...).

        One, but where sinks and a window are kept apart: the sinks first then. None where it keeps no such thing.
        """
        found = [part for part in self._parts.get(layer, ()) if name in part.vectors]
        return tuple(sorted(found, key=lambda part: part.cache.keep_first is None))

    def block_bytes(self, group: int, block_id: int) -> bytes:
        """Everything that one block holds: plane after plane as the layout names them, in each layer after layer."""
        return b"".join(plane[:, block_id].cpu().numpy().tobytes() for plane in self.planes[group].values())

    def put_block_bytes(self, group: int, block_id: int, data: bytes | bytearray | memoryview) -> None:
        """Fills a block with what `block_bytes` gave for one of its group; from any thread, if the block is its own."""
        source, begin = np.frombuffer(data, np.uint8), 0
        for plane in self.planes[group].values():
            part = plane[:, block_id]
            values = source[begin : begin + part.numel()].reshape(part.shape)
            if part.is_cpu:
                part.numpy()[...] = values
            else:
                part.copy_(torch.tensor(values))
            begin += part.numel()

    def copy_block(self, group: int, source: int, target: int) -> None:
        """Makes one block of a group what another one is: every plane, in every layer."""
        for plane in self.planes[group].values():
            plane[:, target] = plane[:, source]


def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Bytes of a plane. On a CPU large pages are asked for before the first byte is written: later is too late."""
    found = torch.empty(shape, dtype=torch.uint8, device=device)
    if device.type == "cpu":
        prefer_huge_pages(found.data_ptr(), found.nbytes)
    return found.zero_()


def rows_per_block(cache: LayerCache, block_size: int) -> int:
    """Rows that one block of a part has: tokens, summaries, or one state."""
    return 1 if cache.is_state else cache.block_tokens(block_size) // cache.stride


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
