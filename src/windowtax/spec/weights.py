"""Weights as declared: name and shape. Parameter counts, weight bytes, FLOPs and the modules all come from these."""

from dataclasses import dataclass
from fractions import Fraction
from math import prod


@dataclass(frozen=True, slots=True)
class Weight:
    """One parameter tensor.

    name: inside its part of the model ("attention.q"). shape: as torch stores it, [out, in] for a matrix.
    active: the share that one token uses (top_k / num_experts for routed experts).
    """

    name: str
    shape: tuple[int, ...]
    active: Fraction = Fraction(1)

    @property
    def count(self) -> int:
        """Numbers stored."""
        return prod(self.shape)

    @property
    def active_count(self) -> int:
        """Numbers that one token uses."""
        return int(self.count * self.active)

    @property
    def is_matrix(self) -> bool:
        """Whether a token is multiplied by it, two FLOPs per active number; vectors (norms, biases) are not."""
        return len(self.shape) >= 2

    def under(self, prefix: str) -> "Weight":
        """The same weight under a longer name."""
        return Weight(f"{prefix}.{self.name}", self.shape, self.active)
