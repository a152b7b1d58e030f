"""Rotary position embeddings (RoPE): the table of angles, the contract of a scaling, and the registry of scalings.

Pair i of a head turns by position * inv_freq[i] radians; unscaled, inv_freq[i] = theta ** (-2i / rotary_dim)
(Su 2021, RoFormer, arXiv 2104.09864, section 3.2.2). A scaling changes these frequencies, and sometimes the length of
the turned vectors, so that a model trained on short texts can read longer ones.

Everything is computed in double precision. Engines that compute in float32 (transformers does) differ by about
ln(theta) * 2**-25 relatively; tests/goldens/rope/README.md derives it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, cast

from windowtax.base.errors import BadInput
from windowtax.base.registry import Registry
from windowtax.base.strict import StrictConfig


@dataclass(frozen=True, slots=True)
class RopeTable:
    """What a kernel needs to rotate.

    inv_freq: rotary_dim / 2 frequencies in radians per position. attention_factor: cos and sin are multiplied by it.
    """

    inv_freq: tuple[float, ...]
    attention_factor: float = 1.0


class RopeScaling(ABC):
    """One way to change the frequencies. Subclasses are frozen dataclasses, one per file, and check their own fields.

    name: the name in the registry. aliases: other names that configs use for it.
    example: how the command line writes it ("yarn:4"), or "" where it cannot be written there.
    whole_head: it rotates the whole head and reads partial_rotary_factor itself; being a trait of the architecture
    and no lever, it cannot be overridden.
    """

    __slots__ = ()

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""
    whole_head: ClassVar[bool] = False

    @abstractmethod
    def table(self, theta: float, rotary_dim: int, context_tokens: int) -> RopeTable:
        """The table for a context of up to `context_tokens`. Raises BadInput where rotary_dim does not suit."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: StrictConfig, original_context_tokens: int, max_context_tokens: int) -> Self:
        """Reads its keys of the rope dict (`rope_scaling` or `rope_parameters`) of a Hugging Face config.

        original_context_tokens: the trained length where the dict names none. max_context_tokens: the longest context
        of the config (max_position_embeddings). Raises BadInput on missing or senseless values.
        """

    @classmethod
    @abstractmethod
    def from_text(cls, argument: str, context_tokens: int) -> Self:
        """Reads the part after the colon of an override ("4" in "yarn:4") for a model trained at `context_tokens`.

        Raises BadInput.
        """

    @abstractmethod
    def extends(self, context_tokens: int) -> int:
        """The window in tokens that this scaling claims: its factor times the trained length.

        The trained length is the one that the scaling carries; where it carries none, `context_tokens`.
        """

    @abstractmethod
    def describe(self) -> str:
        """A few words for reports, such as "yarn x4 from 32,768 tokens"."""

    def mla_softmax_factor(self) -> float:
        """What DeepSeek's latent attention multiplies its softmax scale by; 1 for all scalings but YaRN."""
        return 1.0


ROPE_SCALINGS: Registry[type[RopeScaling]] = Registry("RoPE scaling", "windowtax.spec.rope")

S = TypeVar("S", bound=type[RopeScaling])


def rope_scaling(scaling: S) -> S:
    """Class decorator that files a scaling in ROPE_SCALINGS under its `name`; goes outside @dataclass."""
    ROPE_SCALINGS.register(scaling.name)(scaling)
    return scaling


@dataclass(frozen=True, slots=True)
class Rope:
    """The rotary embedding of a layer. A layer without one holds None in its place.

    theta: base of the frequencies. rotary_dim: how many of the head's dimensions turn (even); the others stay.
    Raises BadInput where the three do not make a table.
    """

    theta: float
    rotary_dim: int
    scaling: RopeScaling

    def __post_init__(self) -> None:
        if not math.isfinite(self.theta) or self.theta <= 1:
            raise BadInput(f"The RoPE base theta is {self.theta:g}; it must be a number above 1.")
        if self.rotary_dim <= 0 or self.rotary_dim % 2:
            raise BadInput(f"RoPE turns pairs of dimensions; {self.rotary_dim} is not a positive even number of them.")
        self.table(1)

    def table(self, context_tokens: int) -> RopeTable:
        """The table for a context of up to `context_tokens`. Dynamic NTK and LongRoPE depend on that length."""
        check_length("context", context_tokens)
        return self.scaling.table(self.theta, self.rotary_dim, context_tokens)


def plain_inv_freq(theta: float, rotary_dim: int) -> tuple[float, ...]:
    """The unscaled frequencies theta ** (-2i / rotary_dim), rotary_dim / 2 of them, in radians per position."""
    return tuple(theta ** (-2 * i / rotary_dim) for i in range(rotary_dim // 2))


def check_factor(factor: float, what: str = "factor") -> None:
    """Raises BadInput unless `factor` is a finite number of at least 1."""
    if not math.isfinite(factor) or factor < 1:
        raise BadInput(f"The RoPE {what} is {factor:g}; it must be a number of at least 1.")


def check_positive(value: float, what: str) -> None:
    """Raises BadInput unless `value` is a finite number above 0."""
    if not math.isfinite(value) or value <= 0:
        raise BadInput(f"The RoPE {what} is {value:g}; it must be a number above 0.")


def check_length(what: str, tokens: int) -> None:
    """Raises BadInput unless `tokens` is positive."""
    if tokens <= 0:
        raise BadInput(f"The {what} length for RoPE is {tokens} tokens; it must be positive.")


def check_divisors(divisors: Sequence[float], what: str, rotary_dim: int) -> None:
    """Raises BadInput unless there is one divisor for each of the rotary_dim / 2 frequencies."""
    if len(divisors) != rotary_dim // 2:
        raise BadInput(
            f"RoPE has {len(divisors)} {what}s, but {rotary_dim} rotated dimensions need {rotary_dim // 2}.",
            "Check head_dim and partial_rotary_factor against the list in the model's files.",
        )


def read_original(config: StrictConfig, original_context_tokens: int) -> int:
    """The trained length in tokens: the rope dict's own, or else the one given."""
    return config.take("original_max_position_embeddings", int, original_context_tokens)


def read_divisors(config: StrictConfig, key: str) -> tuple[float, ...]:
    """A list of positive numbers from the rope dict. Raises BadInput."""
    values = cast("list[Any]", config.take(key, list))
    numbers = tuple(float(value) for value in values if type(value) in (int, float) and value > 0)
    if len(numbers) != len(values):
        raise BadInput(f"{config.source}: {key!r} must hold positive numbers only.")
    return numbers


def parse_factor(argument: str, example: str) -> float:
    """The factor written after the colon of an override. Raises BadInput."""
    try:
        factor = float(argument)
    except ValueError:
        raise BadInput(
            f"{argument!r} is not a RoPE factor.", f"Write a number of at least 1, as in {example}."
        ) from None
    check_factor(factor)
    return factor


def not_written(scaling: type[RopeScaling]) -> BadInput:
    """The error for a scaling that comes with a model's files and cannot be written on the command line."""
    return BadInput(
        f"The RoPE scaling {scaling.name!r} comes with a model's files; it cannot be asked for as an override."
    )
