"""A step: what the model computes at once."""

from dataclasses import dataclass
from typing import NamedTuple

from windowtax.schedule.sequence import Sequence


class Chunk(NamedTuple):
    """Tokens start ... start + num_tokens - 1 of one sequence, the last `num_drafts` of which are its draft's first."""

    sequence: Sequence
    start: int
    num_tokens: int
    num_drafts: int = 0

    @property
    def end(self) -> int:
        """Past-the-last position."""
        return self.start + self.num_tokens

    @property
    def samples(self) -> bool:
        """Whether this chunk ends at the newest token, so that its last logits give the next one."""
        return self.end - self.num_drafts == len(self.sequence.token_ids)

    @property
    def num_logits(self) -> int:
        """Of how many of its last tokens logits are wanted: all, those that are sampled from, or none."""
        if self.sequence.scores_prompt:
            return self.num_tokens
        return self.num_drafts + 1 if self.samples else 0

    @property
    def token_ids(self) -> list[int]:
        """The tokens to compute."""
        known = self.sequence.token_ids[self.start : self.end - self.num_drafts]
        return known + self.sequence.draft_ids[: self.num_drafts]


@dataclass(frozen=True, slots=True)
class Step:
    """The chunks of one step, and the sequences that had to give their blocks back for it."""

    chunks: tuple[Chunk, ...]
    preempted: tuple[Sequence, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens computed in this step."""
        return sum(chunk.num_tokens for chunk in self.chunks)
