"""Explicit divisors, one per frequency: what a GGUF file carries as the tensor rope_freqs.weight.

    inv_freq[i] = theta ** (-2i / d) / factors[i]

GGUF (llama.cpp) writes Llama 3.1's scaling in this form instead of its four parameters. The file does not tell which
part of its context length is the scaling's merit, so this scaling claims no extension.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import (
    RopeScaling,
    RopeTable,
    check_divisors,
    check_positive,
    not_written,
    plain_inv_freq,
    read_divisors,
    rope_scaling,
)


@rope_scaling
@dataclass(frozen=True, slots=True)
class FactorsScaling(RopeScaling):
    """One positive divisor per frequency, rotary_dim / 2 of them; cos and sin are multiplied by attention_factor."""

    factors: tuple[float, ...]
    attention_factor: float = 1.0

    name: ClassVar[str] = "factors"

    def __post_init__(self) -> None:
        check_positive(self.attention_factor, "attention_factor")
        for factor in self.factors:
            check_positive(factor, "frequency factor")

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """Each frequency divided by its own factor, whatever the context."""
        check_divisors(self.factors, "frequency factor", rotary_dim)
        pairs = zip(plain_inv_freq(theta, rotary_dim), self.factors, strict=True)
        return RopeTable(tuple(freq / factor for freq, factor in pairs), self.attention_factor)

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `factors` (a list) and `attention_factor`."""
        return cls(read_divisors(config, "factors"), config.take("attention_factor", float, 1.0))

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Raises BadInput: the divisors come with the file."""
        raise not_written(cls)

    def extends(self, context_tokens: int) -> int:
        """The given length: no extension is claimed."""
        return context_tokens

    def describe(self) -> str:
        """Name, number and range of the divisors."""
        return f"{len(self.factors)} frequency factors from {min(self.factors):g} to {max(self.factors):g}"
