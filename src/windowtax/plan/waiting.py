"""How long the first token takes for how many: percentiles of a queue whose mean is known.

Each of some users waits for the answer before asking again, and one prompt is read at a time. A prompt that comes in
finds n others with the weights of a finite source (machine repair; arrival theorem, Reiser & Lavenberg 1980),
M! / (M - n)! x^n of M other users, and of the one being read any part may be left. So with n = 0 it takes one prompt's
time, else between n and n + 1 of them. x is what makes the mean the one of the mean value analysis. These weights are
those of prompts of all lengths; of equal ones fewer queue up, so p99 errs on the long side, by up to a fourth.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

_HALVINGS = 50
_LARGE = 1e200
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Waiting:
    """prompt_s: reading one prompt, s. shares: of the prompts, those that find 0, 1, 2, ... others."""

    prompt_s: float
    shares: tuple[float, ...]

    @classmethod
    def of(cls, prompt_s: float, users: int, mean_s: float) -> "Waiting":
        """The queue of so many users in which a prompt takes mean_s until it is read, itself included."""
        low, high = 0.0, 1.0
        while _mean(_shares(high, users)) * prompt_s < mean_s and high < 2.0**_HALVINGS:
            low, high = high, high * 2
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if _mean(_shares(middle, users)) * prompt_s < mean_s else (low, middle)
        return cls(prompt_s, _shares(high, users))

    @property
    def mean_s(self) -> float:
        """Mean time until a prompt is read."""
        return _mean(self.shares) * self.prompt_s

    def within_s(self, percent: float) -> float:
        """The time in which so many of 100 prompts are read."""
        sums = list(accumulate(self.shares))
        wanted = min(percent / 100, sums[-1])
        found = bisect_left(sums, wanted)
        if not found:
            return self.prompt_s
        return (found + (wanted - sums[found - 1]) / self.shares[found]) * self.prompt_s


def _shares(load: float, users: int) -> tuple[float, ...]:
    weights = [1.0]
    for others in range(users - 1, 0, -1):
        weights.append(weights[-1] * others * load)
        if weights[-1] > _LARGE:
            weights = [weight / _LARGE for weight in weights]
        if others * load < 1 and weights[-1] < _NOTHING * max(weights[0], weights[-2]):
            break
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def _mean(shares: tuple[float, ...]) -> float:
    """In times of one prompt: 1, or halfway between n and n + 1."""
    return shares[0] + sum(share * (others + 0.5) for others, share in enumerate(shares) if others)
