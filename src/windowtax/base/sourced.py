"""Numbers that say where they come from. Law 8: every figure shown says what it is."""

from dataclasses import dataclass
from enum import StrEnum


class Basis(StrEnum):
    """What a figure is."""

    DATASHEET = "datasheet"
    DERIVED = "derived"
    MEASURED = "measured"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Sourced:
    """A value with its unit, what sort of figure it is, where it comes from, and the day that was checked (ISO)."""

    value: float
    unit: str
    basis: Basis
    source: str
    date: str
