"""Which tokens may be drawn from a row of logits, with what weights; and the draw. V tokens of the vocabulary.

Sorting 150,000 logits takes longer than a step of a small model. So each filter first takes what lies near the largest
logit, one comparison per token, and looks further only where that is too little.
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from windowtax.base.errors import WindowtaxError
from windowtax.engine.sampling import SamplingParams

Row: TypeAlias = NDArray[np.float32]
Logits: TypeAlias = NDArray[np.float32]
"""[rows, V]."""
Ids: TypeAlias = NDArray[np.int64]
Weights: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

_DISTANCES = (4.0, 8.0, 16.0)
_LEAST_WEIGHTS = (1e-2, 1e-4, 1e-6, 0.0)
_SORTED = 1024
_COLDEST = 1e-30
_BLOCK = 256


class NotANumber(WindowtaxError):
    """Logits that are NaN."""

    def __init__(self) -> None:
        super().__init__("The model computed logits that are not numbers (NaN).", "Check the weights.")


def likeliest(logits: Logits) -> list[int]:
    """Of each row of logits [B, V] the id of the largest, of equals the lowest. Raises NotANumber."""
    found: list[int] = logits.argmax(axis=-1).tolist()
    # For numpy, NaN is larger than every number.
    if any(math.isnan(row[place]) for row, place in zip(logits, found, strict=True)):
        raise NotANumber
    return found


def candidates(row: Row, params: SamplingParams) -> tuple[Ids | None, Weights]:
    """The tokens that top-k, top-p and min-p leave of a row [V], and weights [N] that their probabilities go by.

    ids: ascending; None for all tokens. The likeliest token of the row weighs 1. Weights are float64 where top-k or
    min-p come first, else float32. temperature must be above 0. Raises WindowtaxError where no logit is finite.
    """
    largest = float(row.max())
    if not math.isfinite(largest):
        raise WindowtaxError(f"The largest logit is {largest}; no token can be drawn.", "Check the weights.")
    temperature, share = params.temperature, params.top_p
    weights: Weights
    if params.top_k > 0 or (params.min_p > 0 and share == 1):
        # For min-p a little further than the filter at the end, which decides.
        distance = temperature * (1e-3 - math.log(params.min_p)) if params.min_p > 0 else 0.0
        ids = largest_ids(row, params.top_k) if params.top_k > 0 else np.flatnonzero(row >= largest - distance)
        weights = np.exp((row[ids].astype(np.float64) - largest) / temperature)
        if share < 1:
            places = _nucleus(row[ids], weights, share)
            ids, weights = ids[places], weights[places]
    else:
        weights = _all_weights(row, largest, temperature)
        if share == 1:
            return None, weights
        ids = _nucleus(row, weights, share)
        weights = weights[ids]
    keep = weights >= params.min_p
    return ids[keep], weights[keep]


def largest_ids(row: Row, count: int) -> Ids:
    """The ids, ascending, of the `count` largest of a row [V], and of those that equal the last of them."""
    count = min(count, len(row))
    largest = float(row.max())
    for distance in _DISTANCES:
        ids = np.flatnonzero(row >= largest - distance)
        if len(ids) >= count:
            break
    else:
        ids = np.arange(len(row))
    near = row[ids]
    place = len(near) - count
    return ids[near >= np.partition(near, place)[place]]


def pick(weights: Weights, uniform: float) -> int:
    """The index that a number in [0, 1) draws, each as likely as its weight [N] says; never one that weighs nothing.

    Long lists are summed in blocks first: a running sum over 150,000 numbers cannot be vectorised.
    """
    whole = len(weights) // _BLOCK * _BLOCK
    sums = weights[:whole].reshape(-1, _BLOCK).sum(axis=1).astype(np.float64)
    sums = np.append(sums, weights[whole:].sum(dtype=np.float64))
    target = uniform * float(sums.sum())
    block, rest = _place(sums, target)
    inner, _ = _place(weights[block * _BLOCK : (block + 1) * _BLOCK], rest)
    return block * _BLOCK + inner


def _place(weights: Weights, target: float) -> tuple[int, float]:
    """The index at which the running sum passes the target, and how far behind the sum before it the target lies."""
    sums = np.cumsum(weights, dtype=np.float64)
    place = int(np.searchsorted(sums, target, side="right"))
    if place == len(sums):  # rounding
        place = int(np.flatnonzero(weights)[-1])
    return place, target - (float(sums[place - 1]) if place else 0.0)


def _nucleus(logits: Row, weights: Weights, share: float) -> Ids:
    """The places, ascending, of the fewest likeliest tokens that have more than that share of all weights [N].

    Of equals at the edge the first ones. As in a quick sort, what lies on the far side of the edge is never sorted.
    """
    wanted = share * float(weights.sum())
    places = np.arange(0)
    for least in _LEAST_WEIGHTS:
        places = np.flatnonzero(weights >= least)
        if weights[places].sum(dtype=np.float64) > wanted:
            break
    sure: list[Ids] = []
    mass = 0.0
    while len(places) > _SORTED:
        near = logits[places]
        above = near >= near.mean()
        if above.all() or not above.any():
            break  # all are equal
        upper, lower = places[above], places[~above]
        gain = float(weights[upper].sum(dtype=np.float64))
        if mass + gain > wanted:
            places = upper
        else:
            sure.append(upper)
            mass, places = mass + gain, lower
    places = places[np.argsort(-logits[places], kind="stable")]
    ordered = weights[places]
    before = mass + np.cumsum(ordered, dtype=np.float64) - ordered
    return np.sort(np.concatenate([*sure, places[before < wanted]]))


def _all_weights(row: Row, largest: float, temperature: float) -> NDArray[np.float32]:
    scaled = (row - np.float32(largest)) / np.float32(max(temperature, _COLDEST))
    return np.exp(scaled, out=scaled)
