"""What an engine's kernels take on one machine by the shapes that they are given, where that was measured."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

Curve = tuple[tuple[float, float], ...]
"""(size, value), by rising size."""


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """products: FLOP/s where many tokens are multiplied, by the numbers of one layer's matrices. scores: FLOP/s of
    attention's scores in a prefill, by head size. rows_wide, rows_narrow: the least s per byte of weights as wide as
    they are multiplied, and of narrower ones, by the rows of a decode step.

    Of each further sequence of a decode step, s: sequence_s, and sequence_layer_s in each layer. Where blocks are
    chosen, s per KV head and layer, beyond the bytes that are read: scored_block_s for each block there is,
    chosen_block_s for each that is read.
    """

    products: Curve
    scores: Curve
    rows_wide: Curve
    rows_narrow: Curve
    sequence_s: float
    sequence_layer_s: float
    scored_block_s: float
    chosen_block_s: float

    def further_sequences_s(self, sequences: int, layers: int) -> float:
        """What all sequences but the first add to a decode step, s."""
        return max(0, sequences - 1) * (self.sequence_s + layers * self.sequence_layer_s)

    def choose_s(self, blocks: int, chosen: int) -> float:
        """Choosing for one sequence in one layer for one KV head, s; nothing where all blocks are read."""
        if blocks <= chosen:
            return 0.0
        return blocks * self.scored_block_s + chosen * self.chosen_block_s


def on_curve(curve: Sequence[tuple[float, float]], size: float) -> float:
    """The value at a size, straight between the measured ones on logarithmic axes; the ends go on as they are."""
    behind = bisect([known for known, _ in curve], size)
    if behind in (0, len(curve)):
        return curve[min(behind, len(curve) - 1)][1]
    (low, low_value), (high, high_value) = curve[behind - 1 : behind + 1]
    part = log(size / low) / log(high / low)
    return low_value ** (1 - part) * high_value**part
