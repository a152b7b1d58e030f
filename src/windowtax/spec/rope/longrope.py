"""LongRoPE: one searched divisor per frequency, one list for short contexts and one for long ones.

    inv_freq[i] = theta ** (-2i / d) / (long[i] if context > original else short[i])
    attention_factor = sqrt(1 + ln(factor) / ln(original)), factor = longest context / original

Ding 2024, "LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens", arXiv 2402.13753, section 3 (the search for
the divisors); the attention factor is that of the Phi-3 models' code. Configs of 2024 call it "su". The table depends
on the longest context it will serve: keys turned by the short list do not fit the long one.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import (
    RopeScaling,
    RopeTable,
    check_divisors,
    check_factor,
    check_length,
    check_positive,
    not_written,
    plain_inv_freq,
    read_divisors,
    read_original,
    rope_scaling,
)


@rope_scaling
@dataclass(frozen=True, slots=True)
class LongRopeScaling(RopeScaling):
    """Searched divisors, rotary_dim / 2 in each list. factor (>= 1): longest context / original_context_tokens.

    attention_factor: None computes it as the module says.
    """

    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    factor: float
    original_context_tokens: int
    attention_factor: float | None = None

    name: ClassVar[str] = "longrope"
    aliases: ClassVar[tuple[str, ...]] = ("su",)

    def __post_init__(self) -> None:
        check_factor(self.factor)
        if self.original_context_tokens < 2:
            raise BadInput(f"LongRoPE needs a trained length above 1 token, not {self.original_context_tokens}.")
        if self.attention_factor is not None:
            check_positive(self.attention_factor, "attention_factor")

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The long list's frequencies beyond the trained length, the short list's up to it."""
        check_divisors(self.short_factors, "short factor", rotary_dim)
        check_divisors(self.long_factors, "long factor", rotary_dim)
        divisors = self.long_factors if context_tokens > self.original_context_tokens else self.short_factors
        pairs = zip(plain_inv_freq(theta, rotary_dim), divisors, strict=True)
        return RopeTable(tuple(freq / divisor for freq, divisor in pairs), self._attention_factor())

    def _attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor == 1:
            return 1.0
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_context_tokens))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads its fields; without `factor` it is max_context_tokens / trained length, as the Phi-3 configs want."""
        original = read_original(config, original_context_tokens)
        check_length("trained", original)
        return cls(
            short_factors=read_divisors(config, "short_factor"),
            long_factors=read_divisors(config, "long_factor"),
            factor=config.take("factor", float, max_context_tokens / original),
            original_context_tokens=original,
            attention_factor=config.take_optional("attention_factor", float),
        )

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Raises BadInput: the divisors are searched per model."""
        raise not_written(cls)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length."""
        return int(self.factor * self.original_context_tokens)

    def describe(self) -> str:
        """Name, factor and trained length."""
        return f"longrope x{self.factor:g} from {self.original_context_tokens:,} tokens"
