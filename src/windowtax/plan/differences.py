"""Why a measured figure is not the expected one: mistakes that are made again and again, tried one by one.

Each is a way to get another number from the same model: read the unit otherwise, count other tokens, take other heads,
keep other bits. The first that gives the printed digits is the explanation; two at once are tried after each alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import prod

from windowtax.base.units import GB, GIB, KB, KIB, MB, MIB
from windowtax.plan.logs.record import Printed
from windowtax.plan.profiles.base import Subject
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.planes import Growth

_MOST_SAID = 3
"""Explanations of the same factor that are named."""
_OTHER_UNIT = {GB: GIB, GIB: GB, MB: MIB, MIB: MB, KB: KIB, KIB: KB}


@dataclass(frozen=True, slots=True)
class Cause:
    """One way to another number. said: a clause about "it", the printed figure. factor: of the expected number.

    subject: what it is about; two causes about the same thing never go together.
    """

    said: str
    factor: Fraction
    subject: str


def explain_difference(subject: Subject, expected: Fraction | int, measured: Printed) -> str | None:
    """A sentence that tells how the printed figure comes about, or None where nothing known gives its digits."""
    if not expected or measured.value <= 0:
        return None
    causes = tuple(_causes(subject))
    # The fewest mistakes first; a unit read wrongly counts as one.
    for number in (1, 2, 3):
        fitting = [
            (abs(float(expected * factor / figure.value) - 1), said, unit_said)
            for figure, unit_said in _units(measured)
            for factor, said in _factors(causes, number - bool(unit_said)).items()
            if figure.shows(expected * factor)
        ]
        if fitting:
            _, said, unit_said = min(fitting, key=lambda found: found[0])
            return "".join(f"{part[0].upper()}{part[1:]}. " for part in ("; or ".join(said), unit_said) if part).strip()
    return None


def _factors(causes: tuple[Cause, ...], number: int) -> dict[Fraction, list[str]]:
    """Every factor that so many causes about different things give together -> what can be said of it."""
    found: dict[Fraction, list[str]] = {}
    for chosen in combinations(causes, number):
        if len({cause.subject for cause in chosen}) == number:
            said = found.setdefault(prod((cause.factor for cause in chosen), start=Fraction(1)), [])
            if len(said) < _MOST_SAID and chosen:
                said.append(" and ".join(cause.said for cause in chosen))
    return found


def _units(measured: Printed) -> Iterator[tuple[Printed, str]]:
    yield measured, ""
    other = _OTHER_UNIT.get(measured.unit)
    if other is not None:
        power = {GB: "10^9", GIB: "2^30", MB: "10^6", MIB: "2^20", KB: "10^3", KIB: "2^10"}
        yield (
            measured.meaning(other),
            f"the unit printed as {measured.text.split()[-1]} stands for {power[other]} B here",
        )


def _causes(subject: Subject) -> Iterator[Cause]:
    """Every known way to another number of bytes for the same tokens."""
    ranks = subject.tensor_parallel
    yield from _heads(subject)
    if ranks > 1:
        copies = subject.copies
        yield Cause(f"it is of all {ranks} ranks together, copies included", Fraction(ranks), "ranks")
        if copies != ranks:
            yield Cause(f"it is of the undivided model, not of one of {ranks} ranks", Fraction(ranks) / copies, "ranks")
    bits = subject.dtype.element.bits
    for name, other in (("1-byte", 8), ("2-byte", 16), ("4-byte", 32)):
        if other != bits:
            yield Cause(f"it counts {name} elements instead of {subject.dtype.name}", Fraction(other, bits), "bits")
    for tokens, instead in ((128_000, 131_072), (131_072, 128_000)):
        yield Cause(f"it counts {tokens:,} tokens where {instead:,} are said", Fraction(tokens, instead), "tokens")
    yield from _planes(subject)
    layers = sum(len(group.layers) for group in subject.rank.groups)
    if len(subject.rank.groups) == 1:
        more = Fraction(layers + 1, layers)
        yield Cause(
            f"it counts {layers + 1} layers: with the MTP layer, which speculative decoding keeps", more, "layers"
        )


def _heads(subject: Subject) -> Iterator[Cause]:
    attention = next((layer.attention for layer in subject.spec.layers), None)
    if not isinstance(attention, SoftmaxAttention):
        return
    keys, queries = attention.num_kv_heads, attention.num_query_heads
    for factor in (2, 4, 8):
        if queries % (keys * factor) == 0 and keys * factor < queries:
            said = f"it counts {keys * factor} KV heads instead of {keys}"
            if subject.spec.name.startswith("llama-3.1-405b") and factor == 2:
                said += ", as the first upload of the config did"
            yield Cause(said, Fraction(factor), "heads")
    if keys < queries:
        yield Cause(
            f"it counts all {queries} query heads (MHA) instead of {keys} KV heads", Fraction(queries, keys), "heads"
        )


def _planes(subject: Subject) -> Iterator[Cause]:
    """Each plane left out: half of K and V, an index key, scales."""
    sizes: dict[str, int] = {}
    for group in subject.rank.groups:
        for plane in group.cache.planes:
            if plane.grows is Growth.PER_TOKEN:
                sizes[plane.name] = sizes.get(plane.name, 0) + plane.unit_bytes * len(group.layers)
    total = sum(sizes.values())
    for name, size in sizes.items():
        if 0 < size < total:
            yield Cause(f"it leaves out {name}, which is kept too", Fraction(total - size, total), "planes")
    related: dict[str, int] = {}
    for name, size in sizes.items():
        related[name.split("_")[0]] = related.get(name.split("_")[0], 0) + size
    for name, size in related.items():
        if name not in sizes and 0 < size < total:
            yield Cause(f"it leaves out the {name} planes, which are kept too", Fraction(total - size, total), "planes")
