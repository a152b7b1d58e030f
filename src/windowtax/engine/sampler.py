"""Logits -> the next token of each request. B requests, V tokens of the vocabulary.

The work is done in numpy: for a row or two, its calls cost less than torch's, and its argmax is vectorised.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from windowtax.base.errors import WindowtaxError
from windowtax.engine.candidates import Logits, Row, candidates, likeliest, pick
from windowtax.engine.grammar import Follower
from windowtax.engine.sampling import SamplingParams

# Large, but finite: where a grammar leaves nothing but an end token, that one is taken after all.
_BANNED = 1e30


@dataclass(eq=False)
class SamplingState:
    """One request as the sampler sees it. token_ids: the prompt, and later the answer; the live list, only read here.

    end_ids: tokens that end the answer. wants_logits: whether the id of the largest logit is not all that is needed.
    Each request draws from a generator of its own, once per token, so its tokens depend on its seed and its logits and
    on nothing else in the batch.
    """

    params: SamplingParams
    token_ids: Sequence[int]
    end_ids: frozenset[int] = frozenset()
    _num_prompt_tokens: int = field(init=False)
    _generator: np.random.Generator | None = field(default=None, init=False, repr=False)
    _seen: NDArray[np.bool_] | None = field(default=None, init=False, repr=False)
    _shift: Row | None = field(default=None, init=False, repr=False)
    _counts: Counter[int] = field(default_factory=Counter[int], init=False, repr=False)
    _num_seen: int = field(default=0, init=False, repr=False)
    _follower: Follower | None = field(default=None, init=False, repr=False)
    _num_followed: int = field(init=False, repr=False)
    wants_logits: bool = field(init=False)

    def __post_init__(self) -> None:
        self.wants_logits = not self.params.is_plain or self.params.logprobs is not None
        self._num_prompt_tokens = self._num_followed = len(self.token_ids)
        if self.params.grammar is not None:
            self._follower = self.params.grammar.follow()

    def draw(self) -> float:
        """A number in [0, 1), the next one of this request."""
        if self._generator is None:
            seed = self.params.seed
            self._generator = np.random.default_rng(None if seed is None else seed % 2**64)
        return float(self._generator.random())

    @property
    def may_stop(self) -> bool:
        """Whether the answer has as many tokens as it must have."""
        return len(self.token_ids) - self._num_prompt_tokens >= self.params.min_tokens

    @property
    def grammar_ended(self) -> bool:
        """Whether the answer is complete by its grammar, so that nothing may follow."""
        follower = self.follower()
        return follower is not None and follower.ended

    def follower(self) -> Follower | None:
        """Where the answer stands in its grammar, after all its tokens so far; None without a grammar."""
        if self._follower is not None:
            self._follower.advance(list(self.token_ids[self._num_followed :]))
            self._num_followed = len(self.token_ids)
        return self._follower

    def edited(self, row: Row) -> Row:
        """The row [V] with the request's penalties and biases; that same row where it has none."""
        penalty = self.params.repetition_penalty
        shifts = self._shifts
        if penalty == 1 and not shifts:
            return row
        self._look_at_new_tokens(len(row))
        edited = row.copy()
        if self._seen is not None:
            ids = np.flatnonzero(self._seen)
            values = row[ids]
            edited[ids] = np.where(values < 0, values * penalty, values / penalty)
        if self._shift is not None:
            edited += self._shift
        return edited

    @property
    def _shifts(self) -> bool:
        params = self.params
        return bool(params.logit_bias or params.frequency_penalty or params.presence_penalty or params.min_tokens)

    def _look_at_new_tokens(self, vocab_size: int) -> None:
        """Brings what is known per token up to date; only tokens that are new since the last time are looked at."""
        if self._shifts and self._shift is None:
            self._shift = np.zeros(vocab_size, dtype=np.float32)
            self._set_shifts([*(self.params.logit_bias or ()), *self._ends_below(vocab_size)])
        if self.params.repetition_penalty != 1 and self._seen is None:
            self._seen = np.zeros(vocab_size, dtype=np.bool_)
        fresh = self.token_ids[self._num_seen :]
        if self._seen is not None:
            self._seen[fresh] = True
        if self._shift is not None:
            answer = self.token_ids[max(self._num_seen, self._num_prompt_tokens) :]
            self._counts.update(answer)
            self._set_shifts(answer)
            if self.params.min_tokens and self.may_stop:
                self._set_shifts(self._ends_below(vocab_size))
        self._num_seen = len(self.token_ids)

    def _ends_below(self, vocab_size: int) -> list[int]:
        return [token_id for token_id in self.end_ids if token_id < vocab_size]

    def _set_shifts(self, token_ids: Iterable[int]) -> None:
        """What is added to these tokens' logits: bias - count * frequency_penalty - (count > 0) * presence_penalty.

        As OpenAI defines it (platform.openai.com/docs/guides/text-generation, "Frequency and presence penalties").
        """
        assert self._shift is not None
        params, bias = self.params, self.params.logit_bias or {}
        for token_id in token_ids:
            count = self._counts[token_id]
            shift = bias.get(token_id, 0.0) - count * params.frequency_penalty - (count > 0) * params.presence_penalty
            banned = token_id in self.end_ids and not self.may_stop
            self._shift[token_id] = shift - _BANNED if banned else shift


class Sampler:
    """Chooses tokens: penalties and biases, grammar, temperature, top-k, top-p, min-p; then one draw."""

    def sample(self, logits: Logits, requests: Sequence[SamplingState]) -> list[int]:
        """The next token of each request, from logits [B, V] float32, which stay as they are.

        Without temperature: the largest logit, of equals the lowest id. Raises WindowtaxError for logits that are NaN,
        and where an answer cannot go on in its grammar.
        """
        chosen = likeliest(logits)
        for index, request in enumerate(requests):
            if not request.params.is_plain:
                chosen[index] = _choose(logits[index], request)
        return chosen


def _choose(row: Row, request: SamplingState) -> int:
    row = request.edited(row)
    follower = request.follower()
    if request.params.is_greedy:
        largest = int(row.argmax())
        # Most tokens that a model wants are allowed, and asking for one is cheaper than asking for all.
        if follower is None or follower.allows(largest):
            return largest
    if follower is not None:
        row = _masked(row, follower.allowed())
        if request.params.is_greedy:
            return int(row.argmax())
    ids, weights = candidates(row, request.params)
    place = pick(weights, request.draw())
    return place if ids is None else int(ids[place])


def _masked(row: Row, allowed: NDArray[np.bool_]) -> Row:
    """The row with -inf for tokens that are not allowed. Writes where there is less to write."""
    num_allowed = int(np.count_nonzero(allowed))
    if not num_allowed:
        raise WindowtaxError("The grammar leaves no token to go on with.", "The model's vocabulary cannot spell it.")
    if 2 * num_allowed < len(row):
        masked = np.full_like(row, -np.inf)
        ids = np.flatnonzero(allowed)
        masked[ids] = row[ids]
    else:
        masked = row.copy()
        masked[np.flatnonzero(~allowed)] = -np.inf
    return masked
