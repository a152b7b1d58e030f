"""Position Interpolation: positions are divided by the factor, so that long texts fit into the trained range.

    inv_freq[i] = theta ** (-2i / d) / factor

Chen 2023, "Extending Context Window of Large Language Models via Positional Interpolation", arXiv 2306.15595,
section 2.3; found at the same time by the Reddit user kaiokendev. All frequencies shrink alike, so neighbouring tokens
become harder to tell apart: meant to be fine-tuned.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import RopeScaling, RopeTable, check_factor, parse_factor, plain_inv_freq, rope_scaling


@rope_scaling
@dataclass(frozen=True, slots=True)
class LinearScaling(RopeScaling):
    """Position Interpolation by `factor` (>= 1). original_context_tokens: the trained length, where it was stated."""

    factor: float
    original_context_tokens: int | None = None

    name: ClassVar[str] = "linear"
    example: ClassVar[str] = "linear:2"

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """Every frequency divided by the factor, whatever the context."""
        return RopeTable(tuple(freq / self.factor for freq in plain_inv_freq(theta, rotary_dim)))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `factor`."""
        return cls(config.take("factor", float))

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the factor."""
        return cls(parse_factor(argument, cls.example), context_tokens)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length."""
        return int(self.factor * (self.original_context_tokens or context_tokens))

    def describe(self) -> str:
        """Name and factor."""
        return f"linear x{self.factor:g}"
