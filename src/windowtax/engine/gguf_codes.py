"""Quantised GGUF tensors: what packed format takes their codes, and their numbers in float32.

Native code reads most types by itself (native/src/gguf.h): those with one scale (and one least value) per 32 numbers
as they are. All other quantised types (Q3_K, the i-quants ...) become 8-bit codes, which keeps what they say to within
0.4% of each group's largest number.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.rows import Floats

_FLOATS = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
_PLAIN = (*_FLOATS, "BF16")


def code_format(type_name: str) -> WeightFormat | None:
    """The packed format of a tensor of this type; None for types that are not quantised."""
    name = type_name.upper()
    if name in _PLAIN:
        return None
    return _native_types()[name][1] if name in _native_types() else WeightFormat.Q8


def native_type(type_name: str) -> int | None:
    """The type's number in the native module; None where that does not read it."""
    found = _native_types().get(type_name.upper())
    return None if found is None else found[0]


def read_floats(type_name: str, stored: NDArray[np.uint8]) -> Floats:
    """Whole rows [rows, bytes per row] in float32, whatever their type; the gguf package dequantises them.

    Raises KeyError or NotImplementedError for a type that it does not know.
    """
    name = type_name.upper()
    if name in _FLOATS:
        return stored.view(_FLOATS[name]).astype(np.float32)
    if name == "BF16":
        return (stored.view("<u2").astype(np.uint32) << 16).view(np.float32)
    # Imported only where a file needs it: native code reads most files without.
    import gguf

    return gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name])


@cache
def _native_types() -> dict[str, tuple[int, WeightFormat]]:
    module = native_state().module
    types = [] if module is None else module.gguf_types()
    return {name: (number, WeightFormat(format)) for number, (name, format) in enumerate(types)}
