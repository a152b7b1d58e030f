"""How long tokens take for how many: percentiles of a queue whose mean is known, and of the prompts read in between.

Each of some users waits for the answer before asking again, and one prompt is read at a time. A prompt that comes in
finds n others with the weights of a finite source (machine repair; arrival theorem, Reiser & Lavenberg 1980),
M! / (M - n)! x^n of M other users, and of the one being read any part may be left. So with n = 0 it takes one prompt's
time, else between n and n + 1 of them. x is what makes the mean the one of the mean value analysis. These weights are
those of prompts of all lengths; of equal ones fewer queue up, so p99 errs on the long side, by up to a fourth.

Between a user's tokens other users' prompts are read: in each answer as many as there are others on average, and as
they come independently of it, their number is Poisson's. Users who all ask alike keep out of each other's way, so this
errs on the long side too.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from math import exp, sqrt
from statistics import NormalDist

_HALVINGS = 50
_LARGE = 1e200
_NOTHING = 1e-9
_LEAST = 1e-300
_MANY = 500
"""From so many on Poisson's numbers are normal to a thousandth, and e to minus them is no number to begin with."""


@dataclass(frozen=True, slots=True)
class Between:
    """The tokens of one answer after its first: `steps` steps of step_s each, but `chunks` of them, prompt_s together,
    for each prompt of the `others` that is read meanwhile."""

    steps: int
    step_s: float
    prompt_s: float
    chunks: int
    others: int

    @property
    def tpot_s(self) -> float:
        """Mean time per token."""
        return self._with(self.others)

    def within_s(self, percent: float) -> float:
        """The time per token that so many of 100 answers keep on their own average."""
        prompts, weight = 0, exp(-self.others)
        reached = weight
        while reached < percent / 100 and weight > _LEAST:
            prompts += 1
            weight *= self.others / prompts
            reached += weight
        return self._with(prompts) if self.others < _MANY else self._with(self._normal(percent))

    def _normal(self, percent: float) -> float:
        return NormalDist(self.others, sqrt(self.others)).inv_cdf(percent / 100)

    def _with(self, prompts: float) -> float:
        if not self.steps:
            return self.step_s
        plain = max(0.0, self.steps - prompts * self.chunks)
        return (plain * self.step_s + prompts * self.prompt_s) / self.steps


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
