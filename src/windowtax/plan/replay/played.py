"""What a replay plays and what comes of it: sequences without token ids, outcomes, and sums over the clock."""

from dataclasses import dataclass, field

from windowtax.plan.replay.trace import TraceRequest
from windowtax.schedule import sequence as schedule_sequence


class CountedTokens(list[int]):
    """Stands for token ids where only their number matters: the scheduler asks for nothing else."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def __len__(self) -> int:
        return self.length


@dataclass(eq=False)
class Played(schedule_sequence.Sequence):
    """A sequence of the replay. held: blocks of its keys on which it holds a reference. Times are of the clock."""

    request: TraceRequest = field(kw_only=True)
    held: int = 0
    num_cached_tokens: int = 0
    load_s: float = 0.0
    first_token_s: float = -1.0

    def sample(self, count: int = 1) -> None:
        """So many tokens more."""
        tokens = self.token_ids
        assert isinstance(tokens, CountedTokens)
        tokens.length += count


def played_of(sequence: schedule_sequence.Sequence) -> Played:
    """The sequences of a replay are its own."""
    assert isinstance(sequence, Played)
    return sequence


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request saw, in s of the clock. num_cached_tokens: of its prompt, when it first ran."""

    request: TraceRequest
    first_token_s: float
    finished_s: float
    num_cached_tokens: int
    num_preemptions: int

    @property
    def ttft_s(self) -> float:
        """From arrival to the first token."""
        return self.first_token_s - self.request.arrival_s

    @property
    def tpot_s(self) -> float | None:
        """Per output token after the first; None where there is none."""
        after = self.request.num_output_tokens - 1
        return (self.finished_s - self.first_token_s) / after if after else None


@dataclass(slots=True)
class Replayed:
    """A replay. refused: requests that the pool can never hold, with the scheduler's words. finished_s: the last token.

    busy_s: the clock while anything ran. num_steps: of the scheduler. scheduled_tokens: computed in them, those that
    were computed again included. held_byte_s: bytes of live sequences' blocks, integrated over the time.
    sequence_s: running sequences, likewise. num_moves: preemptions after which the blocks waited in host memory.
    complete: False where the caller stopped it.
    """

    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    refused: list[tuple[TraceRequest, str]] = field(default_factory=list[tuple[TraceRequest, str]])
    finished_s: float = 0.0
    busy_s: float = 0.0
    num_steps: int = 0
    scheduled_tokens: int = 0
    num_preemptions: int = 0
    num_moves: int = 0
    held_byte_s: float = 0.0
    sequence_s: float = 0.0
    complete: bool = True
