"""One line of a derivation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a derivation. source: where the formula or the figure comes from."""

    name: str
    formula: str
    numbers: str
    result: str
    basis: str
    source: str
