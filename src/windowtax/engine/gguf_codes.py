"""Quantised GGUF tensors as codes with scales.

Types with one scale (and one least value) per 32 numbers are read as they are. Other quantised types (Q5_1, Q5_K,
Q6_K, the
i-quants ...) become 8-bit codes, which keeps what they say to within 0.4% of each group's largest number.

Block formats as ggml defines them (ggml-common.h): Q4_0 {fp16 d; 16 bytes}, Q4_1 {fp16 d, m; 16 bytes}, Q8_0 {fp16 d;
32 int8}, Q5_0 {fp16 d; 4 bytes of fifth bits; 16 bytes}, Q4_K {fp16 d, dmin; 12 bytes of 6-bit scales and minima; 128
bytes} over 256 numbers. In Q4_0 and Q4_1 the low
nibbles are the first 16 numbers; in Q4_K the low nibbles of 32 bytes are one group of 32 and the high ones the next.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from windowtax.ops.native import WeightFormat
from windowtax.ops.rows import GROUP, Codes, Floats

Blocks = NDArray[np.uint8]
"""[rows, blocks per row, bytes per block]."""


_FLOATS = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
_PLAIN = (*_FLOATS, "BF16")


def code_format(type_name: str) -> WeightFormat | None:
    """The packed format of a tensor of this type; None for types that are not quantised."""
    name = type_name.upper()
    if name in _PLAIN:
        return None
    return WeightFormat.Q4 if name.startswith("Q4_") else WeightFormat.Q8


def read_codes(type_name: str, stored: NDArray[np.uint8]) -> Codes | None:
    """stored: the bytes of whole rows [rows, bytes per row]. None for types that are not quantised.

    Raises KeyError or NotImplementedError for a type that the gguf package does not know.
    """
    name = type_name.upper()
    if name in _PLAIN:
        return None
    if name not in _READERS:
        return _as_8_bits(name, stored)
    block_bytes, read = _READERS[name]
    return read(stored.reshape(stored.shape[0], -1, block_bytes))


def read_floats(type_name: str, stored: NDArray[np.uint8]) -> Floats:
    """The same rows in float32, whatever their type; the gguf package dequantises them. Raises as `read_codes`."""
    name = type_name.upper()
    if name in _FLOATS:
        return stored.view(_FLOATS[name]).astype(np.float32)
    if name == "BF16":
        return (stored.view("<u2").astype(np.uint32) << 16).view(np.float32)
    # Imported only where a file needs it: native code reads most files without.
    import gguf

    return gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name])


def _as_8_bits(name: str, stored: NDArray[np.uint8]) -> Codes:
    values = read_floats(name, stored)
    grouped = values.reshape(values.shape[0], -1, GROUP)
    # The scale is rounded to fp16 first, as it is kept, so that the codes make up for it.
    scale = (np.abs(grouped).max(axis=-1) / 127).astype(np.float16).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    codes = np.clip(np.rint(grouped * inverse[..., None]), -127, 127).astype(np.int8)
    return Codes(codes.reshape(values.shape), scale, None)


def _q4_0(blocks: Blocks) -> Codes:
    scale = _halves(blocks, 0)
    return Codes(_nibbles(blocks[..., 2:]), scale, scale * np.float32(-8))


def _q4_1(blocks: Blocks) -> Codes:
    return Codes(_nibbles(blocks[..., 4:]), _halves(blocks, 0), _halves(blocks, 2))


def _q5_0(blocks: Blocks) -> Codes:
    # The fifth bits of all 32 numbers lie in one little-endian word; 5-bit codes with one scale are 8-bit codes too.
    word = np.ascontiguousarray(blocks[..., 2:6]).view("<u4")
    fifth = (word >> np.arange(GROUP, dtype=np.uint32) & 1).astype(np.int8) << 4
    codes = (_nibbles(blocks[..., 6:]) | fifth.reshape(blocks.shape[0], -1)) - np.int8(16)
    return Codes(codes, _halves(blocks, 0), None)


def _q8_0(blocks: Blocks) -> Codes:
    codes = np.ascontiguousarray(blocks[..., 2:]).view(np.int8)
    return Codes(codes.reshape(blocks.shape[0], -1), _halves(blocks, 0), None)


def _q4_k(blocks: Blocks) -> Codes:
    rows, count = blocks.shape[:2]
    packed = blocks[..., 4:16]
    low, middle, high = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    # The first four scales and minima are 6 bits as they lie; the last four have their upper 2 bits above the first's.
    scale = np.concatenate([low & 63, (high & 15) | (low >> 6 << 4)], axis=-1)
    least = np.concatenate([middle & 63, (high >> 4) | (middle >> 6 << 4)], axis=-1)
    d, d_min = _halves(blocks, 0)[..., None], _halves(blocks, 2)[..., None]
    bytes_of_pairs = blocks[..., 16:].reshape(rows, count, 4, 32)
    codes = np.stack([bytes_of_pairs & 15, bytes_of_pairs >> 4], axis=3)
    return Codes(
        np.ascontiguousarray(codes.reshape(rows, -1).view(np.int8)),
        np.ascontiguousarray((d * scale).reshape(rows, -1).astype(np.float32)),
        np.ascontiguousarray((-d_min * least).reshape(rows, -1).astype(np.float32)),
    )


def _halves(blocks: Blocks, offset: int) -> NDArray[np.float32]:
    """The fp16 at this byte of every block, [rows, blocks]."""
    raw = np.ascontiguousarray(blocks[..., offset : offset + 2])
    return raw.view(np.float16)[..., 0].astype(np.float32)


def _nibbles(quants: Blocks) -> NDArray[np.int8]:
    codes = np.concatenate([quants & 15, quants >> 4], axis=-1)
    return np.ascontiguousarray(codes.reshape(quants.shape[0], -1).view(np.int8))


_READERS: dict[str, tuple[int, Callable[[Blocks], Codes]]] = {
    "Q4_0": (18, _q4_0),
    "Q4_1": (20, _q4_1),
    "Q5_0": (22, _q5_0),
    "Q8_0": (34, _q8_0),
    "Q4_K": (144, _q4_k),
}
