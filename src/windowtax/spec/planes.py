"""Planes: the named arrays that a layer's cache is made of."""

from dataclasses import dataclass
from enum import StrEnum
from math import prod


class Growth(StrEnum):
    """What a plane grows with."""

    PER_TOKEN = "per token"
    PER_BLOCK = "per block"
    """One row for so many tokens as the stride of its LayerCache says: summaries and compressed rows."""
    PER_SEQUENCE = "per sequence"


@dataclass(frozen=True, slots=True)
class Plane:
    """One named array of a layer's cache.

    shape: of one row (of a token, a block or a sequence, as `grows` says). element, bits: the type of its numbers.
    span: so many tokens of a block share one row; a unit is then one token's share of it.
    """

    name: str
    shape: tuple[int, ...]
    element: str
    bits: int
    grows: Growth
    span: int = 1

    @property
    def unit_bytes(self) -> int:
        """Bytes of one unit. Raises ValueError where the numbers do not fill whole bytes."""
        total_bits = prod(self.shape) * self.bits
        if total_bits % (8 * self.span):
            raise ValueError(f"plane {self.name} of {self.shape} x {self.bits} bits does not fill whole bytes")
        return total_bits // (8 * self.span)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row: of `span` units."""
        return self.unit_bytes * self.span
