"""Dynamic NTK: NTK-aware scaling whose factor grows with the context, so that short texts are left alone.

    s = factor * max(context, original) / original - (factor - 1)
    theta' = theta * s ** (d / (d - 2)),  inv_freq[i] = theta' ** (-2i / d)

emozilla 2023, "Dynamically Scaled RoPE further increases performance of long context LLaMA with zero fine-tuning",
a post on Reddit's r/LocalLLaMA; Peng 2023, YaRN, arXiv 2309.00071, section 3.3 of version 2. The table depends on the
longest context it will serve: keys that were turned by another table do not fit this one.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import (
    RopeScaling,
    RopeTable,
    check_factor,
    check_length,
    parse_factor,
    plain_inv_freq,
    rope_scaling,
)
from windowtax.spec.rope.ntk import ntk_theta


@rope_scaling
@dataclass(frozen=True, slots=True)
class DynamicScaling(RopeScaling):
    """Dynamic NTK by `factor` (>= 1) beyond `original_context_tokens`, the trained length."""

    factor: float
    original_context_tokens: int

    name: ClassVar[str] = "dynamic"
    example: ClassVar[str] = "dynamic:4"

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length("trained", self.original_context_tokens)

    def ntk_factor(self, context_tokens: int) -> float:
        """The static NTK factor that serves a context of that length; 1 up to the trained length."""
        stretch = max(context_tokens, self.original_context_tokens) / self.original_context_tokens
        return self.factor * stretch - (self.factor - 1)

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The frequencies of the theta that suits the context."""
        return RopeTable(plain_inv_freq(ntk_theta(theta, rotary_dim, self.ntk_factor(context_tokens)), rotary_dim))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads `factor`; the trained length is the config's max_position_embeddings, as transformers has it."""
        return cls(config.take("factor", float), max_context_tokens)

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the factor."""
        return cls(parse_factor(argument, cls.example), context_tokens)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length."""
        return int(self.factor * self.original_context_tokens)

    def describe(self) -> str:
        """Name, factor and trained length."""
        return f"dynamic x{self.factor:g} from {self.original_context_tokens:,} tokens"
