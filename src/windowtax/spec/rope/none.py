"""No scaling: the frequencies the model was trained with.

    inv_freq[i] = theta ** (-2i / d),  i = 0 .. d/2 - 1

Su 2021, RoFormer, arXiv 2104.09864, section 3.2.2. Configs call it "default".
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import RopeScaling, RopeTable, plain_inv_freq, rope_scaling


@rope_scaling
@dataclass(frozen=True, slots=True)
class NoScaling(RopeScaling):
    """Plain RoPE. It claims no more than the trained length."""

    name: ClassVar[str] = "none"
    aliases: ClassVar[tuple[str, ...]] = ("default",)
    example: ClassVar[str] = "none"

    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The plain frequencies, whatever the context."""
        return RopeTable(plain_inv_freq(theta, rotary_dim))

    @classmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads nothing."""
        return cls()

    @classmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Takes no argument."""
        if argument:
            raise BadInput(f"'none' takes no argument, but was given {argument!r}.")
        return cls()

    def extends(self, context_tokens: int) -> int:
        """The trained length itself."""
        return context_tokens

    def describe(self) -> str:
        """The word none."""
        return "none"
