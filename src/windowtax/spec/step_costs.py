"""What an engine's kernels take on one machine by the shapes that they are given, where that was measured."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

Curve = tuple[tuple[float, float], ...]
"""(size, value), by rising size."""

_NEAR = 0.9
"""Reads that differ by less than this factor are of the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a model decides how fast kernels are, as means over its layers: layer_numbers, of one layer's matrices;
    of layers with keys and values head_size, query_numbers (of all query heads together), and group (query heads per KV
    head). 0: there are none."""

    layer_numbers: float
    head_size: float
    query_numbers: float
    group: float


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """products: FLOP/s where many tokens are multiplied, by the numbers of one layer's matrices. scores: FLOP/s of
    attention's scores in a prefill, by head size. widening: s per number of a layer's matrices that every chunk of a
    prompt takes, however many its tokens, by those numbers.

    Of a decode step, as (s that plain reading takes per byte there, s that the kernel takes): weights_wide and
    weights_narrow, as wide as they are multiplied and narrower; caches, by dtype. rows_wide, rows_narrow: the least s
    per byte of weights, by the rows of a step; cache_groups: s per byte of a near cache, by dtype and query heads per
    KV head. `caches` are of the first of them.

    Constants of a decode step, s: layer_s of each layer and sequence_layer_s of each further sequence in each layer, by
    query_numbers; begin_s, by dtype, more of both where there is a context; sequence_s of each further sequence. Where
    blocks are chosen, beyond the bytes that are read: choose_layer_s per sequence and layer, scored_number_s for each
    number of a block's summaries.
    """

    products: Curve
    scores: Curve
    widening: Curve
    weights_wide: Curve
    weights_narrow: Curve
    rows_wide: Curve
    rows_narrow: Curve
    caches: Mapping[str, Curve]
    cache_groups: Mapping[str, Curve]
    begin_s: Mapping[str, float]
    layer_s: Curve
    sequence_layer_s: Curve
    sequence_s: float
    scored_number_s: float
    choose_layer_s: float

    def further_sequences_s(self, sequences: int, layers: int, query_numbers: float) -> float:
        """What all sequences but the first add to a decode step, s."""
        each_s = self.sequence_s + layers * on_curve(self.sequence_layer_s, query_numbers)
        return max(0, sequences - 1) * each_s

    def chunk_s(self, tokens: int, layers: int, layer_numbers: float) -> float:
        """What a chunk of a prompt takes whatever its tokens, s; nothing where they are as few as the rows of a decode
        step, which is how they are multiplied then."""
        if tokens <= self.rows_wide[-1][0]:
            return 0.0
        return layers * layer_numbers * on_curve(self.widening, layer_numbers)

    def choose_s(self, summary_numbers: int) -> float:
        """Choosing for one sequence in one layer by summaries of so many numbers, s."""
        return self.choose_layer_s + summary_numbers * self.scored_number_s

    def for_cache(self, dtype: str) -> "StepCosts":
        """The same for contexts that are kept in this dtype."""
        begin_s = self.begin_s.get(dtype, 0.0)
        return replace(
            self,
            layer_s=tuple((size, value + begin_s) for size, value in self.layer_s),
            sequence_layer_s=tuple((size, value + begin_s) for size, value in self.sequence_layer_s),
            begin_s={},
        )

    def for_group(self, group: float) -> "StepCosts":
        """The same where so many query heads read what one KV head keeps: they compute more with each byte, which hides
        behind reading where that takes longer."""

        def lifted(name: str, curve: Curve) -> Curve:
            groups = self.cache_groups.get(name)
            if not groups:
                return curve
            factor = on_curve(groups, group) / groups[0][1]
            (near_read, near_s), (far_read, far_s) = curve[0], curve[-1]
            return (near_read, near_s * factor), (far_read, max(far_s, min(near_s, far_s) * factor))

        return replace(self, caches={name: lifted(name, curve) for name, curve in self.caches.items()})


def on_curve(curve: Sequence[tuple[float, float]], size: float) -> float:
    """The value at a size, straight between the measured ones on logarithmic axes; the ends go on as they are."""
    behind = bisect([known for known, _ in curve], size)
    if behind in (0, len(curve)):
        return curve[min(behind, len(curve) - 1)][1]
    (low, low_value), (high, high_value) = curve[behind - 1 : behind + 1]
    part = log(size / low) / log(high / low)
    return low_value ** (1 - part) * high_value**part


def kernel_s(curve: Curve, read_s: float) -> float:
    """What a kernel takes per byte where plain reading takes read_s, s.

    Straight between where its bytes lay near and where they lay far. A part of its own work hides behind reading, and
    how much is not asked: it is in both ends. Nearer than near it takes as long, which is its own work; farther than
    far it goes on in the same line, unless that falls.
    """
    (near_read, near_s), (far_read, far_s) = curve[0], curve[-1]
    if near_read > _NEAR * far_read:
        return max(near_s, far_s * read_s / far_read)
    part = max(0.0, (read_s - near_read) / (far_read - near_read))
    return near_s + (part if far_s > near_s else min(part, 1.0)) * (far_s - near_s)
