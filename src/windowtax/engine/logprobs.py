"""Log-probabilities of tokens, as the model gives them: before penalties, biases, grammars and temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from windowtax.engine.candidates import Logits, Row, largest_ids

_ROWS = 32


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's natural log-probability, and the likeliest tokens in its place with theirs, the likeliest first.

    rank: 1 for the likeliest token; equals share a rank.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    rank: int = 1


def token_logprobs(logits: Logits, token_ids: Sequence[int], num_top: int) -> list[TokenLogprob]:
    """Of one token per row of logits [T, V], with the num_top likeliest of each row; of equals the lowest ids.

    The logits stay as they are; a few rows at a time are worked on, so the extra memory does not grow with T.
    """
    found: list[TokenLogprob] = []
    for start in range(0, len(token_ids), _ROWS):
        ids = token_ids[start : start + _ROWS]
        rows = logits[start : start + len(ids)]
        largest = rows.max(axis=-1, keepdims=True)
        sums = np.exp(rows - largest).sum(axis=-1, dtype=np.float64)
        logs: list[float] = (largest[:, 0] + np.log(sums)).tolist()
        found += [_logprob(*one, num_top) for one in zip(rows, ids, logs, strict=True)]
    return found


def _logprob(row: Row, token_id: int, log_sum: float, num_top: int) -> TokenLogprob:
    top: tuple[tuple[int, float], ...] = ()
    if num_top:
        ids = largest_ids(row, num_top)
        order = np.argsort(-row[ids], kind="stable")[:num_top]
        top = tuple((int(i), float(row[i]) - log_sum) for i in ids[order])
    rank = 1 + int(np.count_nonzero(row > row[token_id]))
    return TokenLogprob(token_id, float(row[token_id]) - log_sum, top, rank)
