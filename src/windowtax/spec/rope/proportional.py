"""Proportional RoPE: the fastest share of the whole head's pairs turns, the slow rest stands still.

    n = int(proportion * d // 2) pairs turn:  inv_freq[i] = theta ** (-2i / d) / factor for i < n, else 0

Unlike plain partial rotary, d is the whole head: pair i couples dimensions i and i + d/2 of it, and the exponents run
over it. Gemma 4's full-attention layers use it. Source: "proportional" in transformers 5.23.0; no paper is known to us.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import RopeScaling, RopeTable, check_factor, not_written, plain_inv_freq, rope_scaling


@rope_scaling
@dataclass(frozen=True, slots=True)
class ProportionalScaling(RopeScaling):
    """`proportion` (0..1) of the pairs of the whole head turn, slowed by `factor` (>= 1)."""

    proportion: float
    factor: float = 1.0

    name: ClassVar[str] = "proportional"
    whole_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if not 0 <= self.proportion <= 1:
            raise BadInput(f"The rotated share of the head is {self.proportion:g}; it must lie between 0 and 1.")

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """rotary_dim: the whole head. The slow pairs' frequencies are 0, whatever the context."""
        num_turning = int(self.proportion * rotary_dim // 2)
        plain = plain_inv_freq(theta, rotary_dim)
        return RopeTable(tuple(freq / self.factor if i < num_turning else 0.0 for i, freq in enumerate(plain)))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `partial_rotary_factor` and `factor`; both default to 1."""
        return cls(config.take("partial_rotary_factor", float, 1.0), config.take("factor", float, 1.0))

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Raises BadInput: the share is part of the architecture."""
        raise not_written(cls)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length."""
        return int(self.factor * context_tokens)

    def describe(self) -> str:
        """Name, share and factor."""
        slowed = f", x{self.factor:g}" if self.factor != 1 else ""
        return f"proportional, {self.proportion:.0%} of the head turns{slowed}"
