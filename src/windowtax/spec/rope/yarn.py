"""YaRN: interpolate the slow pairs, keep the fast ones, ramp between, and sharpen attention a little.

A pair is placed by how often it turns over the trained length L. dim(r) = d * ln(L / (2 pi r)) / (2 ln theta) is the
(fractional) pair that turns r times; low = dim(beta_fast), high = dim(beta_slow), rounded outwards if `truncate`.

    ramp(i) = clamp((i - low) / (high - low), 0, 1),  f = theta ** (-2i / d)
    inv_freq[i] = f / factor * ramp(i) + f * (1 - ramp(i))
    m(c) = 0.1 * c * ln(factor) + 1
    attention_factor = m(mscale) / m(mscale_all_dim) if both are given, else m(1)

Peng 2023, "YaRN: Efficient Context Window Extension of Large Language Models", arXiv 2309.00071: the ramp is section
3.2 ("NTK-by-parts"), the attention factor section 3.4 in version 2. The paper ramps in turns; this ramp in pairs is
that of its authors' code, which transformers follows. mscale comes from DeepSeek-V2 (arXiv 2405.04434, section 3.1.4):
there the ratio is usually 1 and the sharpening sits in the softmax scale, see `mla_softmax_factor`.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

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
class YarnScaling(RopeScaling):
    """YaRN by `factor` (>= 1) from `original_context_tokens`; the other fields bear the names that configs use.

    attention_factor: None computes it as the module says.
    """

    factor: float
    original_context_tokens: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None

    name: ClassVar[str] = "yarn"
    example: ClassVar[str] = "yarn:4"

    def __post_init__(self) -> None:
        check_factor(self.factor)
        check_length("trained", self.original_context_tokens)
        check_positive(self.beta_fast, "beta_fast")
        check_positive(self.beta_slow, "beta_slow")
        if self.attention_factor is not None:
            check_positive(self.attention_factor, "attention_factor")
        for what, mscale in (("mscale", self.mscale), ("mscale_all_dim", self.mscale_all_dim)):
            if mscale:
                check_positive(mscale, what)

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The ramped frequencies, whatever the context."""
        low, high = self._ramp_ends(theta, rotary_dim)
        inv_freq: list[float] = []
        for i, freq in enumerate(plain_inv_freq(theta, rotary_dim)):
            ramp = min(max((i - low) / (high - low), 0.0), 1.0)
            inv_freq.append(freq / self.factor * ramp + freq * (1 - ramp))
        return RopeTable(tuple(inv_freq), self._attention_factor())

    def _ramp_ends(self, theta: float, rotary_dim: int) -> tuple[float, float]:
        """First pair that is slowed, and first that is slowed by the full factor. Never equal."""

        def pair_turning(times: float) -> float:
            wavelength = self.original_context_tokens / times
            return rotary_dim * math.log(wavelength / (2 * math.pi)) / (2 * math.log(theta))

        low, high = pair_turning(self.beta_fast), pair_turning(self.beta_slow)
        if self.truncate:
            low, high = float(math.floor(low)), float(math.ceil(high))
        low, high = max(low, 0.0), min(high, rotary_dim - 1.0)
        return low, high + 0.001 if low == high else high

    def _attention_factor(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._sharpening(self.mscale) / self._sharpening(self.mscale_all_dim)
        return self._sharpening(1.0)

    def _sharpening(self, mscale: float) -> float:
        return 0.1 * mscale * math.log(self.factor) + 1.0

    def mla_softmax_factor(self) -> float:
        """(0.1 * mscale_all_dim * ln(factor) + 1) squared; 1 without mscale_all_dim."""
        return self._sharpening(self.mscale_all_dim) ** 2 if self.mscale_all_dim else 1.0

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads its fields; without `factor` it is max_context_tokens / trained length. A zero means the default."""
        original = read_original(config, original_context_tokens)
        check_length("trained", original)
        return cls(
            factor=config.take("factor", float, max_context_tokens / original),
            original_context_tokens=original,
            beta_fast=config.take_optional("beta_fast", float) or 32.0,
            beta_slow=config.take_optional("beta_slow", float) or 1.0,
            truncate=config.take("truncate", bool, True),
            attention_factor=config.take_optional("attention_factor", float),
            mscale=config.take_optional("mscale", float),
            mscale_all_dim=config.take_optional("mscale_all_dim", float),
        )

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the factor; the rest is as the paper recommends."""
        return cls(parse_factor(argument, cls.example), context_tokens)

    def extends(self, context_tokens: int) -> int:
        """factor x trained length."""
        return int(self.factor * self.original_context_tokens)

    def describe(self) -> str:
        """Name, factor and trained length."""
        return f"yarn x{self.factor:g} from {self.original_context_tokens:,} tokens"
