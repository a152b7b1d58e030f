"""Which tokens may be drawn from a row of logits, with what weights; and the draw. V tokens of the vocabulary.

Sorting 150,000 logits takes longer than a step of a small model. So each filter first takes what lies near the largest
logit, one comparison per token, and looks further only where that is too little.
"""

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from windowtax.base.errors import WindowtaxError
from windowtax.engine.sampling import SamplingParams

Row: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.int64]
Weights: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

_DISTANCES = (4.0, 8.0, 16.0)
_LEAST_WEIGHTS = (1e-2, 1e-4, 1e-6)
_COLDEST = 1e-30
_BLOCK = 256


def candidates(row: Row, params: SamplingParams) -> tuple[Ids | None, Weights]:
    """The tokens that top-k, top-p and min-p leave of a row [V], and weights [N] that their probabilities go by.

    The likeliest token of the row weighs 1. ids: ascending, or with top-p the likeliest first, of equals the lowest id;
    None for all tokens. Weights of all tokens are float32, of some float64. temperature must be above 0. Raises
    WindowtaxError where no token has a finite logit.
    """
    largest = float(row.max())
    if not math.isfinite(largest):
        raise WindowtaxError(f"The largest logit is {largest}; no token can be drawn.", "Check the weights.")
    total = None
    if params.top_k > 0:
        ids = largest_ids(row, params.top_k)
    elif params.top_p < 1:
        ids, total = _around_nucleus(row, largest, params)
    elif params.min_p > 0:
        # A little further than the filter below reaches, which decides.
        ids = np.flatnonzero(row >= largest + params.temperature * (math.log(params.min_p) - 1e-3))
    else:
        return None, _all_weights(row, largest, params.temperature)
    return _filtered(ids, (row[ids].astype(np.float64) - largest) / params.temperature, total, params)


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


def _filtered(ids: Ids, scaled: Weights, total: float | None, params: SamplingParams) -> tuple[Ids, Weights]:
    """What top-p and min-p leave. scaled: logits below the largest, over the temperature. total: of all weights that
    top-p goes by; None for those of these ids."""
    if params.top_p < 1:
        order = np.argsort(-scaled, kind="stable")
        ids, scaled = ids[order], scaled[order]
    weights = np.exp(scaled)
    keep = np.ones(len(ids), dtype=np.bool_)
    if params.top_p < 1:
        sums = np.cumsum(weights)
        keep = (sums - weights) / (sums[-1] if total is None else total) < params.top_p
    if params.min_p > 0:
        keep &= weights >= params.min_p
    return ids[keep], weights[keep]


def _around_nucleus(row: Row, largest: float, params: SamplingParams) -> tuple[Ids, float]:
    """The ids, ascending, of likeliest tokens that weigh more than top_p of all together; and what all weigh."""
    weights = _all_weights(row, largest, params.temperature)
    total = float(weights.sum())
    for least in _LEAST_WEIGHTS:
        ids = np.flatnonzero(weights >= least)
        if weights[ids].sum(dtype=np.float64) > params.top_p * total:
            return ids, total
    return np.arange(len(row)), total


def _all_weights(row: Row, largest: float, temperature: float) -> NDArray[np.float32]:
    # torch's exp takes a quarter of numpy's time.
    scaled = (torch.from_numpy(row) - largest).div_(max(temperature, _COLDEST))
    return scaled.exp_().numpy()
