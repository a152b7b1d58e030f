"""`windowtax check`: which formula reproduces a number that someone states, or which comes nearest, and by how much.

The search goes over formulas x models x cache dtypes x conventions of context (128K = 131,072 or 128,000) and of units
(GiB or GB). A number is reproduced where a value rounds to all the digits that are written.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from windowtax.base.errors import BadInput
from windowtax.catalog.read import model_names
from windowtax.plan.check_readings import Reading, readings
from windowtax.plan.check_words import Words, read_words, unit_factor

_PAIRS = (("KB", "KiB"), ("MB", "MiB"), ("GB", "GiB"), ("TB", "TiB"))
_OTHER_UNIT = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
SHOWN = 4
FAR = 0.2
"""A number that is further off than this relative distance is not shown beside the nearest."""
CLOSE = 0.05
"""A number that rounds to the stated one is still another one if it is further off than this: 0.54 is not 1."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """A reading beside the stated number. unit: in which the number was counted. value: ours, in that unit.

    error: stated / ours - 1. exact: ours rounds to the number as it is written.
    """

    reading: Reading
    unit: str
    value: float
    error: float
    exact: bool
    assumptions: tuple[str, ...]
    cost: int


@dataclass(frozen=True, kw_only=True)
class Check:
    """The answer.

    best: the cheapest exact match, else the nearest, or `plain` where nothing is near. plain: the reading without any
    assumption that is nearest, None where every reading needs one. others: what else gives the number or is near it.
    """

    text: str
    words: Words
    best: Match
    plain: Match | None
    others: tuple[Match, ...]
    tried: int


def check(text: str) -> Check:
    """Finds what a sentence's number is. Raises BadInput where it holds no quantity, or nothing to compute it from."""
    words = read_words(text)
    found = list(_matches(words))
    if not found:
        raise BadInput(
            f"Nothing is known that {words.quantity.text!r} could be computed from in {text!r}.",
            "Name a model of the catalog (`windowtax plan --help`), a price list's model, or two models to compare.",
        )
    ranked = sorted(found, key=_rank)
    plain = min((one for one in found if not one.cost), key=lambda one: abs(one.error), default=None)
    best = ranked[0]
    if plain and not best.exact and abs(best.error) > FAR:
        # Nothing comes near: then what the sentence says is more worth than a far-fetched meaning.
        best = plain
    others: list[Match] = []
    for one in ranked:
        if (
            one is not best
            and len(others) < SHOWN
            and abs(one.error) <= FAR
            and not any(_same(one, other) for other in (best, *others))
        ):
            others.append(one)
    return Check(text=text, words=words, best=best, plain=plain, others=tuple(others), tried=len(found))


def _rank(match: Match) -> tuple[bool, float, float]:
    """Exact ones first, the cheapest of them; then by distance, each assumption weighing as much as half a percent."""
    if match.exact:
        return False, match.cost, abs(match.error)
    return True, abs(match.error) + 0.005 * match.cost, match.cost


def _same(one: Match, other: Match) -> bool:
    """Whether `one` is the same number of the same model with more assumptions, or as many."""
    a, b = one.reading, other.reading
    return a.model == b.model and round(a.value, 9) == round(b.value, 9) and {*other.assumptions} <= {*one.assumptions}


def _matches(words: Words) -> Iterator[Match]:
    quantity = words.quantity
    units = [quantity.unit, *([_OTHER_UNIT[quantity.unit]] if quantity.unit in _OTHER_UNIT else [])]
    for reading in _all_readings(words):
        for index, unit in enumerate(units):
            value = reading.value / unit_factor(unit)
            if value <= 0:
                continue
            extra = () if index == 0 else (f"{quantity.unit} means {unit}",)
            yield Match(
                reading=reading,
                unit=unit,
                value=value,
                error=quantity.value / value - 1,
                exact=abs(value - quantity.value) <= min(quantity.half * (1 + 1e-9), CLOSE * value),
                assumptions=(*reading.assumptions, *extra),
                cost=reading.cost + len(extra),
            )


def _all_readings(words: Words) -> Iterable[Reading]:
    if words.quantity.kind == "usd":
        from windowtax.plan.check_prices import price_readings

        return price_readings(words)
    return readings(words, words.models or model_names())
