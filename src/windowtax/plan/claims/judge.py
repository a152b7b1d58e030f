"""From data to verdicts: a claim holds if its first reading that agrees needs no assumption, holds if one is named."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.plan.claims.amount import DIMENSIONS, amount_text, factor
from windowtax.plan.claims.formula import Formula, Value, find_formula

TOLERANCE = 0.005
"""Relative distance from the value that still counts as the same, unless a claim states another."""

ARTICLES: dict[int, str] = {
    1: "Long context isn't a capability. It's a standing charge.",
    2: "How much does a 10 million token context window actually cost?",
    3: "From 512 tokens to 1M",
    4: "Long context and the KV cache",
    5: "The Math Behind LLM Pricing 04: Cracking Open the KV Cache",
}

_CLAIM_KEYS = {"id", "quote", "value", "unit", "says", "tolerance", "relation", "readings", "also", "why"}
_READING_KEYS = {"f", "unit", "if", "misplaced", "tolerance", "relation"}


class Verdict(StrEnum):
    """What comes of comparing a claim with our value."""

    HOLDS = "holds"
    HOLDS_IF = "holds if"
    WRONG = "wrong"


class Relation(StrEnum):
    """What a claimed number says of the value: that it is it, that it is no less, no more."""

    EQUALS = "equals"
    AT_LEAST = "at least"
    """The value is the least that is possible, and the claim must not be below it (a floor)."""
    AT_MOST = "at most"
    """The value is the most that is possible, and the claim must not be above it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to understand a claim: a formula with its inputs, and the assumption under which one reads it so.

    unit: in which the claimed number is then counted. assumption: "" where the sentence itself says all of it.
    misplaced: the number is right, but of this, which is not what the sentence says: the claim is wrong.
    """

    formula: Formula
    inputs: Mapping[str, Value]
    unit: str
    assumption: str
    misplaced: str
    tolerance: float
    relation: Relation

    @property
    def value(self) -> float:
        """Our value, in the unit of the reading."""
        return self.formula.value(self.inputs) / factor(self.unit)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A checkable number of an article. low, high: the claimed figure (equal unless it is a range), in `unit`.

    says: how to show it where that is no plain number ("more than 1x").
    """

    id: str
    quote: str
    low: float
    high: float
    unit: str
    says: str
    readings: tuple[Reading, ...]
    also: Mapping[str, Reading]
    why: str

    @property
    def article(self) -> int:
        """The article's number."""
        return int(self.id.split(".")[0])


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim, the reading that decides it, our value, and the verdict.

    error: claimed / ours - 1 at the nearer end of a range; 0 inside. why: the reason, its figures filled in.
    """

    claim: Claim
    reading: Reading
    value: float
    error: float
    verdict: Verdict
    why: str

    @property
    def holds_if(self) -> bool:
        """Whether it holds under an assumption."""
        return self.verdict is Verdict.HOLDS_IF

    @property
    def claimed_text(self) -> str:
        """The claimed figure with its unit, as the article has it."""
        claim = self.claim
        if claim.says:
            return claim.says
        if claim.low == claim.high:
            return amount_text(claim.low, claim.unit, exact=True)
        return f"{amount_text(claim.low, '', exact=True)} to {amount_text(claim.high, claim.unit, exact=True)}"

    @property
    def value_text(self) -> str:
        """Our value with its unit."""
        return amount_text(self.value, self.reading.unit)


def read_claims(path: Path) -> tuple[Claim, ...]:
    """The claims of one file. Raises BadInput or UnknownName for what is unread, missing or unknown in it."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    claims = tuple(_claim(cast("dict[str, Any]", entry), path) for entry in data["claim"])
    ids = [claim.id for claim in claims]
    if len(set(ids)) != len(ids):
        raise BadInput(f"{path}: two claims have the same id: {sorted({one for one in ids if ids.count(one) > 1})}.")
    return claims


@cache
def all_claims() -> tuple[Claim, ...]:
    """Every claim of every article, in order."""
    files = sorted(Path(__file__).parent.glob("article*.toml"))
    return tuple(claim for path in files for claim in read_claims(path))


@cache
def judged_claims() -> tuple[Judged, ...]:
    """Every claim, computed and judged."""
    return tuple(judge(claim) for claim in all_claims())


def judge(claim: Claim) -> Judged:
    """Computes the readings in turn and stops at the first that agrees; without one, the first reading is our value."""
    for reading in claim.readings:
        value = reading.value
        error = _error(claim, value)
        if _agrees(claim, reading, value):
            verdict = Verdict.HOLDS_IF if reading.assumption else Verdict.HOLDS
            verdict = Verdict.WRONG if reading.misplaced else verdict
            break
    else:
        reading = claim.readings[0]
        value, verdict = reading.value, Verdict.WRONG
        error = _error(claim, value)
    figures = {name: amount_text(other.value, other.unit) for name, other in claim.also.items()}
    why = claim.why.format(ours=amount_text(value, reading.unit), **figures)
    return Judged(claim=claim, reading=reading, value=value, error=error, verdict=verdict, why=why)


def _agrees(claim: Claim, reading: Reading, value: float) -> bool:
    room = abs(value) * reading.tolerance
    if reading.relation is Relation.AT_LEAST:
        return claim.low >= value - room
    if reading.relation is Relation.AT_MOST:
        return claim.high <= value + room
    return claim.low - room <= value <= claim.high + room


def _error(claim: Claim, value: float) -> float:
    """Relative distance of the claim from the value; infinite where the value is zero and the claim is not."""
    if claim.low <= value <= claim.high:
        return 0.0
    nearest = claim.low if value < claim.low else claim.high
    return nearest / value - 1 if value else float("inf")


def _claim(entry: dict[str, Any], path: Path) -> Claim:
    where = f"{path.name}, claim {entry.get('id')}"
    unknown = set(entry) - _CLAIM_KEYS
    if unknown:
        raise BadInput(f"{where}: {', '.join(sorted(unknown))} is not read by anyone.")
    value = entry["value"]
    low, high = cast("list[float]", value) if isinstance(value, list) else (value, value)
    also = cast("dict[str, dict[str, Any]]", entry.get("also", {}))
    return Claim(
        id=entry["id"],
        quote=entry["quote"],
        low=float(low),
        high=float(high),
        unit=entry["unit"],
        says=entry.get("says", ""),
        readings=tuple(_reading(reading, entry, where) for reading in entry["readings"]),
        also={name: _reading(reading, entry, where) for name, reading in also.items()},
        why=entry["why"],
    )


def _reading(entry: dict[str, Any], claim: dict[str, Any], where: str) -> Reading:
    found = find_formula(entry["f"])
    unit = entry.get("unit", claim["unit"])
    if DIMENSIONS[unit] != DIMENSIONS[found.unit]:
        raise BadInput(f"{where}: {found.name} gives {found.unit or 'a plain number'}, which is no {unit}.")
    return Reading(
        formula=found,
        inputs={key: value for key, value in entry.items() if key not in _READING_KEYS},
        unit=unit,
        assumption=entry.get("if", ""),
        misplaced=entry.get("misplaced", ""),
        tolerance=float(entry.get("tolerance", claim.get("tolerance", TOLERANCE))),
        relation=Relation(entry.get("relation", claim.get("relation", "equals"))),
    )
