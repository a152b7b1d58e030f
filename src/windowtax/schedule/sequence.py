"""A sequence: the tokens of one request while they are computed."""

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """Where a sequence stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False)
class Sequence:
    """Counters of one sequence, in tokens. token_ids: the prompt, then what was sampled.

    num_computed_tokens: how many of token_ids have their keys and values in the cache. The last sampled token has
    not: it is computed in the step that samples its successor. draft_ids: tokens that somebody guesses to come next;
    a step may compute them too, and what the model does not agree with is forgotten. salt: of the tenant, whose cached
    prefixes others do not share. priority: lower ones are admitted first and preempted last. num_cached_tokens: of the
    prompt, found in the cache when it was first admitted. scores_prompt: the logits of all its tokens are wanted, so it
    is computed from its start, whatever is kept.

    offloaded: whether what it has computed waits in host RAM. num_moves: preemptions after which it did; moved_bytes:
    that were copied back then. num_recomputed_tokens: computed once more after the other preemptions; num_lost_tokens:
    given up in the last one.
    """

    sequence_id: str
    token_ids: list[int]
    max_output_tokens: int
    num_prompt_tokens: int = field(init=False)
    num_computed_tokens: int = 0
    num_preemptions: int = 0
    draft_ids: list[int] = field(default_factory=list[int])
    status: Status = Status.WAITING
    salt: str = ""
    priority: int = 0
    num_cached_tokens: int = 0
    scores_prompt: bool = False
    offloaded: bool = False
    num_moves: int = 0
    moved_bytes: int = 0
    num_recomputed_tokens: int = 0
    num_lost_tokens: int = 0

    def __post_init__(self) -> None:
        self.num_prompt_tokens = len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        """Tokens sampled so far."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens that stand between here and the next sampled token."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def max_tokens(self) -> int:
        """The longest that the sequence can become."""
        return self.num_prompt_tokens + self.max_output_tokens
