"""Llama 3.1's scaling: slow frequencies are divided by the factor, fast ones kept, those between blended.

With wavelength w = 2 pi / f and L the trained length:

    w < L / high_freq_factor:  f             w > L / low_freq_factor:  f / factor
    between:  s = (L / w - low) / (high - low),  (1 - s) * f / factor + s * f

Models: Grattafiori 2024, "The Llama 3 Herd of Models", arXiv 2407.21783 (theta in section 3.2, the long-context stage
in 3.4.2). The formula is in the code released with the weights, not in the paper.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import (
    RopeScaling,
    RopeTable,
    check_factor,
    check_length,
    check_positive,
    parse_factor,
    plain_inv_freq,
    read_original,
    rope_scaling,
)


@rope_scaling
@dataclass(frozen=True, slots=True)
class Llama3Scaling(RopeScaling):
    """Scaling by `factor` (>= 1) of wavelengths above original_context_tokens / low_freq_factor.

    Wavelengths below original_context_tokens / high_freq_factor are kept; low_freq_factor <= high_freq_factor.
    """

    factor: float
    original_context_tokens: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    name: ClassVar[str] = "llama3"
    example: ClassVar[str] = "llama3:8"

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length("trained", self.original_context_tokens)
        check_positive(self.low_freq_factor, "low_freq_factor")
        check_positive(self.high_freq_factor, "high_freq_factor")
        if self.high_freq_factor < self.low_freq_factor:
            raise BadInput(
                f"RoPE llama3: high_freq_factor {self.high_freq_factor:g} is below "
                f"low_freq_factor {self.low_freq_factor:g}."
            )

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The blended frequencies, whatever the context."""
        return RopeTable(tuple(self._scale(freq) for freq in plain_inv_freq(theta, rotary_dim)))

    def _scale(self, freq: float) -> float:
        turns = self.original_context_tokens * freq / (2 * math.pi)
        if turns >= self.high_freq_factor:
            return freq
        if turns < self.low_freq_factor:
            return freq / self.factor
        smooth = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        return (1 - smooth) * freq / self.factor + smooth * freq

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `factor`, `low_freq_factor`, `high_freq_factor`, `original_max_position_embeddings`."""
        return cls(
            factor=config.take("factor", float),
            original_context_tokens=read_original(config, original_context_tokens),
            low_freq_factor=config.take("low_freq_factor", float),
            high_freq_factor=config.take("high_freq_factor", float),
        )

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the factor; low and high are 1 and 4, as in Llama 3.1."""
        return cls(parse_factor(argument, cls.example), context_tokens)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length. Llama 3.1 itself was trained on to 128K, twice what its factor of 8 claims."""
        return int(self.factor * self.original_context_tokens)

    def describe(self) -> str:
        """Name, factor and trained length."""
        return f"llama3 x{self.factor:g} from {self.original_context_tokens:,} tokens"
