"""Prompt lookup: guess that what followed the last few tokens before will follow them again.

Saxena 2023 (github.com/apoorvumang/prompt-lookup-decoding); the check of a whole draft in one step, with the exact
greedy answer, is Leviathan et al. 2022 (arXiv 2211.17192, section 2.3). No second model: answers about a text copy
from it, and reading all weights once for several tokens is what a step costs.
"""

from collections.abc import Sequence

DRAFT_TOKENS = 10
"""The most tokens guessed at once. A row more costs little while a step is bound by reading weights and cache."""
_MEMORY = 0.8
"""How much of what earlier guesses said is kept at each that is checked. Of 0.6 to 0.85, with a row more at a twentieth
to an eighth of a step, this was best on the questions of benchmarks/speculation."""
_CERTAIN = 0.99

NGRAMS = (3, 2)
"""Lengths of the tails that are looked up, the longest first: it is right more often."""


class PromptLookup:
    """Drafts for one sequence. token_ids: the prompt and the answer so far; the live list, only read here."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._token_ids = token_ids
        self._ends: dict[tuple[int, ...], int] = {}
        self._num_indexed = 0
        self._right = 0.5

    def draft(self, num_tokens: int) -> list[int]:
        """At most `num_tokens` tokens that followed the newest earlier place of the current tail; empty for none.

        Fewer while guesses are wrong: twice as many as would be right in a row if each were as likely as lately.
        """
        num_tokens = min(num_tokens, 1 + round(2 * self._right / (1 - self._right)))
        tail_end = len(self._token_ids)
        self._index(tail_end - 1)
        for length in NGRAMS:
            if tail_end >= length:
                end = self._ends.get(tuple(self._token_ids[tail_end - length :]))
                if end is not None:
                    return list(self._token_ids[end : end + num_tokens])
        return []

    def learn(self, num_drafts: int, num_accepted: int) -> None:
        """Takes in how many of a draft's tokens were right, counted from its first."""
        for _ in range(num_accepted):
            self._right = _MEMORY * self._right + (1 - _MEMORY) * _CERTAIN
        if num_accepted < num_drafts:
            self._right *= _MEMORY

    def _index(self, limit: int) -> None:
        """Notes where every n-gram that ends at or before `limit` was seen last; the tail itself is not yet one."""
        for end in range(self._num_indexed + 1, limit + 1):
            for length in NGRAMS:
                if end >= length:
                    self._ends[tuple(self._token_ids[end - length : end])] = end
        self._num_indexed = max(self._num_indexed, limit)
