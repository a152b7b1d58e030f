"""Logits -> the next token of each request. B requests, V tokens of the vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from windowtax.base.errors import WindowtaxError
from windowtax.engine.sampling import SamplingParams

_FIRST_CANDIDATES = 256


@dataclass(eq=False)
class SamplingState:
    """One request as the sampler sees it. token_ids: the prompt and the answer so far; the live list, only read here.

    Each request draws from a generator of its own, once per token, so its tokens depend on its seed and its logits
    and on nothing else in the batch.
    """

    params: SamplingParams
    token_ids: Sequence[int]
    _generator: torch.Generator | None = field(default=None, repr=False)
    _seen: Tensor | None = field(default=None, repr=False)
    _num_seen: int = field(default=0, repr=False)

    def draw(self) -> float:
        """A number in [0, 1), the next one of this request."""
        if self._generator is None:
            self._generator = torch.Generator()
            if self.params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self.params.seed)
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def seen(self, vocab_size: int, device: torch.device) -> Tensor:
        """[V] bool: which tokens the prompt and the answer hold. Only new ones are looked at."""
        if self._seen is None:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
        fresh = self.token_ids[self._num_seen :]
        if fresh:
            self._seen[torch.tensor(fresh, device=device)] = True
            self._num_seen = len(self.token_ids)
        return self._seen


class Sampler:
    """Chooses tokens: penalty, temperature, top-k, top-p, min-p, in transformers' order; then one draw."""

    def sample(self, logits: Tensor, requests: Sequence[SamplingState]) -> list[int]:
        """The next token of each request, from logits [B, V] float32, which stay as they are.

        Without temperature: the largest logit, of equals the lowest id. Raises WindowtaxError for logits that are NaN.
        """
        rows = [self._penalised(row, request) for row, request in zip(logits, requests, strict=True)]
        if any(request.params.repetition_penalty != 1 for request in requests):
            logits = torch.stack(rows)
        largest, likeliest = logits.max(dim=-1)
        if bool(torch.isnan(largest).any()):
            raise WindowtaxError("The model computed logits that are not numbers (NaN).", "Check the weights.")
        chosen = likeliest.tolist()
        for index, request in enumerate(requests):
            if not request.params.is_greedy:
                ids, probabilities = candidates(rows[index], request.params)
                chosen[index] = _pick(ids, probabilities, request.draw())
        return chosen

    def _penalised(self, row: Tensor, request: SamplingState) -> Tensor:
        penalty = request.params.repetition_penalty
        if penalty == 1:
            return row
        seen = request.seen(row.shape[0], row.device)
        return torch.where(seen, torch.where(row < 0, row * penalty, row / penalty), row)


def candidates(row: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """The tokens that top-k, top-p and min-p leave of a row [V], and their probabilities (float64, sum 1).

    Both are [N]: by id, or with top-p by probability, of equals the lowest id first. temperature must be above 0.
    """
    # Shrinking first is what makes this fast: sorting 150,000 logits takes longer than a step of a small model.
    ids = _shortlist(row, params)
    weights = _weights(row, row[ids], params)
    keep = torch.ones_like(weights, dtype=torch.bool)
    if params.top_p < 1:
        order = torch.sort(row[ids], descending=True, stable=True).indices
        ids, weights = ids[order], weights[order]
        total = weights.sum() if params.top_k > 0 else _weights(row, row, params).sum()
        keep = (weights.cumsum(0) - weights) / total < params.top_p
    if params.min_p > 0:
        keep &= weights >= params.min_p * weights.max()
    ids, weights = ids[keep], weights[keep]
    return ids, weights / weights.sum()


def _weights(row: Tensor, logits: Tensor, params: SamplingParams) -> Tensor:
    """Probabilities of logits of that row, up to a factor: the likeliest token of the row has 1."""
    return ((logits.double() - row.max().double()) / params.temperature).exp()


def _shortlist(row: Tensor, params: SamplingParams) -> Tensor:
    """Ids, ascending, of every token that may pass the filters (ties at the edge included)."""
    vocab_size = row.shape[0]
    if params.top_k > 0:
        edge = torch.topk(row, min(params.top_k, vocab_size)).values[-1]
    elif params.top_p < 1:
        edge = _top_p_edge(row, params)
    elif params.min_p > 0:
        edge = row.max() + params.temperature * (torch.tensor(params.min_p, dtype=torch.float64).log() - 1e-3)
    else:
        edge = row.min()
    return (row >= edge).nonzero().squeeze(-1)


def _top_p_edge(row: Tensor, params: SamplingParams) -> Tensor:
    wanted = params.top_p * _weights(row, row, params).sum()
    count = min(_FIRST_CANDIDATES, row.shape[0])
    while True:
        values = torch.topk(row, count).values
        if count == row.shape[0] or _weights(row, values, params).sum() > wanted:
            return values[-1]
        count = min(8 * count, row.shape[0])


def _pick(ids: Tensor, probabilities: Tensor, uniform: float) -> int:
    place = int(torch.searchsorted(probabilities.cumsum(0), uniform, right=True))
    return int(ids[min(place, len(ids) - 1)])
