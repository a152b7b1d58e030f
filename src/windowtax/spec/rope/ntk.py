"""NTK-aware scaling, static: a larger theta slows the low frequencies by the factor and leaves the highest alone.

    theta' = theta * factor ** (d / (d - 2)),  inv_freq[i] = theta' ** (-2i / d)

The exponent makes the slowest pair (i = d/2 - 1) turn exactly `factor` times slower and the fastest (i = 0) as before.
bloc97 2023, "NTK-Aware Scaled RoPE allows LLaMA models to have extended (8k+) context size without any fine-tuning",
a post on Reddit's r/LocalLLaMA; written up in Peng 2023, YaRN, arXiv 2309.00071, section 3.1, which notes that some
pairs leave the trained range, so that a factor somewhat above the wanted extension is needed. transformers has only
the dynamic form.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import RopeScaling, RopeTable, check_factor, parse_factor, plain_inv_freq, rope_scaling


def ntk_theta(theta: float, rotary_dim: int, factor: float) -> float:
    """The base that slows the slowest of rotary_dim / 2 frequencies by `factor`. Raises BadInput below 4 dimensions."""
    if rotary_dim < 4:
        raise BadInput(f"NTK-aware scaling needs at least 4 rotated dimensions, not {rotary_dim}.")
    return theta * factor ** (rotary_dim / (rotary_dim - 2))


@rope_scaling
@dataclass(frozen=True, slots=True)
class NtkScaling(RopeScaling):
    """NTK-aware scaling by `factor` (>= 1). original_context_tokens: the trained length, where it was stated."""

    factor: float
    original_context_tokens: int | None = None

    name: ClassVar[str] = "ntk"
    example: ClassVar[str] = "ntk:4"

    def __post_init__(self) -> None:
        check_factor(self.factor)

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The frequencies of the larger theta, whatever the context."""
        return RopeTable(plain_inv_freq(ntk_theta(theta, rotary_dim, self.factor), rotary_dim))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `factor`."""
        return cls(config.take("factor", float))

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the factor."""
        return cls(parse_factor(argument, cls.example), context_tokens)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length: an upper claim, since some pairs leave the trained range before it."""
        return int(self.factor * (self.original_context_tokens or context_tokens))

    def describe(self) -> str:
        """Name and factor."""
        return f"ntk x{self.factor:g}"
