"""Element types, and the cache dtypes that are built of them.

A cache dtype says which planes one cached vector per head becomes: its elements, and the scales that belong to them.
"""

from dataclasses import dataclass
from math import prod

from windowtax.base.errors import UnknownName
from windowtax.spec.planes import Growth, Plane


@dataclass(frozen=True, slots=True)
class ElementType:
    """One stored number: its name and its width in bits."""

    name: str
    bits: int


FP32 = ElementType("fp32", 32)
BF16 = ElementType("bf16", 16)
FP16 = ElementType("fp16", 16)
FP8 = ElementType("fp8", 8)
INT8 = ElementType("int8", 8)
INT4 = ElementType("int4", 4)

ELEMENT_TYPES = {element.name: element for element in (FP32, BF16, FP16, FP8, INT8, INT4)}


@dataclass(frozen=True, slots=True)
class CacheDtype:
    """In what bits keys and values are kept. scale: the type of the one scale per token and head, None without."""

    name: str
    element: ElementType
    scale: ElementType | None
    note: str

    def vector_planes(self, name: str, num_heads: int, dim: int) -> tuple[Plane, ...]:
        """The planes of one vector of `dim` numbers per head and token: [num_heads, dim], scales [num_heads]."""
        data = Plane(name, (num_heads, dim), self.element.name, self.element.bits, Growth.PER_TOKEN)
        if self.scale is None:
            return (data,)
        return (data, Plane(f"{name}_scale", (num_heads,), self.scale.name, self.scale.bits, Growth.PER_TOKEN))

    def vector_bytes(self, dim: int) -> float:
        """Bytes of one vector of `dim` numbers with its scale, as facts tables print them."""
        return sum(prod(plane.shape) * plane.bits / 8 for plane in self.vector_planes("x", 1, dim))


CACHE_DTYPES = {
    dtype.name: dtype
    for dtype in (
        CacheDtype("fp32", FP32, None, "4 bytes per number"),
        CacheDtype("bf16", BF16, None, "2 bytes per number, the default"),
        CacheDtype("fp16", FP16, None, "2 bytes per number"),
        CacheDtype("fp8", FP8, None, "1 byte per number, one scale per layer (not counted: it does not grow)"),
        CacheDtype("int8", INT8, FP32, "1 byte per number and one fp32 scale per token and head"),
        CacheDtype("int4", INT4, FP32, "half a byte per number and one fp32 scale per token and head"),
    )
}


def cache_dtype(name: str) -> CacheDtype:
    """The cache dtype of that name. Raises UnknownName."""
    if name not in CACHE_DTYPES:
        raise UnknownName(f"There is no cache dtype called {name!r}.", f"There are: {', '.join(CACHE_DTYPES)}.")
    return CACHE_DTYPES[name]


def element_type(name: str) -> ElementType:
    """The element type of that name. Raises UnknownName."""
    if name not in ELEMENT_TYPES:
        raise UnknownName(f"There is no element type called {name!r}.", f"There are: {', '.join(ELEMENT_TYPES)}.")
    return ELEMENT_TYPES[name]
