"""The protocol of a hypothesis: what it claims, which cache sizes follow, and what speaks for and against it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from windowtax.base.registry import Registry
from windowtax.price.xray.findings import Findings
from windowtax.price.xray.priors import Interval, draws


@dataclass(frozen=True, kw_only=True)
class Case:
    """One threshold to be explained. window_tokens: the longest request the list takes.

    known: priors that are not guessed, by name (active_parameters, total_parameters, cache_number_bytes).
    """

    threshold_tokens: int
    window_tokens: int
    known: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Sentences for and against, each with the figures it rests on."""

    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


class Hypothesis(ABC):
    """One explanation of a tier. `claim` is a sentence, `formula` what b follows from, `asks` the priors it needs."""

    name: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    formula: ClassVar[str]
    asks: ClassVar[tuple[str, ...]]
    only_bounds: ClassVar[bool] = False
    """Whether it says no more of the cache than how large it can be at most."""

    @abstractmethod
    def cache_bytes(self, case: Case) -> Iterator[float]:
        """Bytes per token that follow from each joint draw of the priors; impossible draws are left out."""

    @abstractmethod
    def evidence(self, found: Findings) -> Evidence:
        """What the market says about it."""

    def interval(self, case: Case) -> Interval | None:
        """5 to 95 % of cache_bytes. None where no draw is possible."""
        return self.interval_of(list(self.cache_bytes(case)))

    def interval_of(self, values: Sequence[float]) -> Interval | None:
        """The interval of values that cache_bytes gave."""
        if not values:
            return None
        found = Interval.of(values)
        return Interval(0.0, None, found.high) if self.only_bounds else found


HYPOTHESES: Registry[Hypothesis] = Registry("hypothesis", "windowtax.price.xray.hypotheses")


def free_bytes(case: Case, names: tuple[str, ...]) -> Iterator[tuple[Mapping[str, float], float]]:
    """(draw, bytes left for caches) of machines that hold the model: accelerators x memory less weights.

    Draws where the weights take more than four fifths are left out: nobody would serve so.
    """
    for draw in draws(names, case.known):
        weight_bytes = draw["number_bits"] / 8 * total_parameters(draw.values)
        room = draw["accelerators"] * draw.chip.memory_bytes * draw.chip.usable
        if weight_bytes <= 0.8 * room:
            yield draw.values, room - weight_bytes


def total_parameters(values: Mapping[str, float]) -> float:
    """Known, or active parameters times the guessed ratio."""
    if "total_parameters" in values:
        return values["total_parameters"]
    return values["active_parameters"] * values["total_per_active"]


def market_policy(found: Findings) -> tuple[str, ...]:
    """Sentences that speak against every explanation by physics: the threshold follows the seller, not the machine."""
    said: list[str] = []
    tokens, (low, high) = found.tier.threshold_tokens, found.price_range
    if found.shared:
        said.append(
            f"{len(found.same_seller)} other models of {found.shape.provider} step at the same {tokens:,} tokens, at "
            f"base prices of ${low:g} to ${high:g} per million: one threshold for very different machines"
        )
    others = [
        f"{one.provider} {', '.join(f'{tier.threshold_tokens:,}' for tier in one.tiers) or 'no tier'}"
        for one in found.elsewhere[:4]
    ]
    if others:
        said.append(f"the same model steps elsewhere at other sellers: {'; '.join(others)}")
    if found.flattened:
        said.append(f"{flattened_words(found)} lost its tier with unchanged weights")
    return tuple(said)


def flattened_words(found: Findings) -> str:
    """ "claude-opus-4-6 (2026-03-13)": models of the seller whose tier went away, and when."""
    return ", ".join(f"{model} ({day})" for model, day in found.flattened)
