"""Quantised GGUF tensors as codes with scales, for the native kernels.

Types with one scale (and one least value) per 32 numbers are read as they are, by native code (native/src/gguf.h).
Other quantised types (Q6_K, Q3_K, the i-quants ...) become 8-bit codes, which keeps what they say to within 0.4% of
each group's largest number.
"""

import numpy as np
from numpy.typing import NDArray

from windowtax.catalog.gguf_metadata import GGML_TYPES
from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.rows import GROUP, Codes, Floats

_FLOATS = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
_PLAIN = (*_FLOATS, "BF16")
_FORMATS = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q4_K"), WeightFormat.Q4),
    "Q5_0": WeightFormat.Q5,
    **dict.fromkeys(("Q5_1", "Q5_K"), WeightFormat.Q5_LEAST),
}
"""Of all others: 8 bits."""
_WITH_LEAST = (WeightFormat.Q4, WeightFormat.Q5_LEAST)
_BLOCK_NUMBERS = {name.upper(): numbers for name, numbers, _ in GGML_TYPES.values()}
_BLOCK_BYTES = {name.upper(): num_bytes for name, _, num_bytes in GGML_TYPES.values()}


def code_format(type_name: str) -> WeightFormat | None:
    """The packed format of a tensor of this type; None for types that are not quantised."""
    name = type_name.upper()
    return None if name in _PLAIN else _FORMATS.get(name, WeightFormat.Q8)


def read_codes(type_name: str, stored: NDArray[np.uint8]) -> Codes | None:
    """stored: the bytes of whole rows [rows, bytes per row]. None for types that are not quantised.

    Raises KeyError or NotImplementedError for a type that the gguf package does not know.
    """
    name, format = type_name.upper(), code_format(type_name)
    if format is None:
        return None
    module = native_state().module
    assert module is not None, "codes are for native kernels"
    if not module.reads_blocks(name):
        return _as_8_bits(name, stored)
    rows, columns = stored.shape[0], stored.shape[1] // _BLOCK_BYTES[name] * _BLOCK_NUMBERS[name]
    codes = np.empty((rows, columns), dtype=np.int8)
    scale = np.empty((rows, columns // GROUP), dtype=np.float32)
    least = np.empty_like(scale) if format in _WITH_LEAST else None
    module.read_blocks(name, stored, codes, scale, least)
    return Codes(format, codes, scale, least)


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
    return Codes(WeightFormat.Q8, codes.reshape(values.shape), scale, None)
