"""A request as the engine sees it, what it hears of it, and what it cost."""

from dataclasses import dataclass, field
from enum import StrEnum

from windowtax.cache.miss import Miss
from windowtax.engine.detokenize import StreamDecoder
from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.sampler import SamplingState
from windowtax.engine.speculate import PromptLookup
from windowtax.schedule.sequence import Sequence


class FinishReason(StrEnum):
    """Why a request ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


_RATED_TOKENS = 32


@dataclass
class Meter:
    """What one request cost, as measured. Times are seconds of the engine's clock.

    byte_seconds: the bytes of its blocks, integrated over the time that they were held. peak_bytes: the most at once.
    decode_steps: steps that computed one token of it behind a context; decode_context_tokens: the sum of those
    contexts' lengths, for the reads that they stand for. drafted_tokens, accepted_tokens: guessed ahead, and right.
    steps: of each, the tokens computed before it and in it.
    """

    arrived: float
    first_scheduled: float | None = None
    first_token: float | None = None
    finished: float | None = None
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    decode_steps: int = 0
    decode_context_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    steps: list[tuple[int, int]] = field(default_factory=list)
    byte_seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def ttft_s(self) -> float | None:
        """From arrival to the first token."""
        return None if self.first_token is None else self.first_token - self.arrived

    @property
    def prefill_s_per_token(self) -> float | None:
        """Of one prompt token; None where so few were computed that each took as long as a decode step."""
        return self.prefill_s / self.prefill_tokens if self.prefill_tokens >= _RATED_TOKENS else None

    def tpot_s(self, num_output_tokens: int) -> float | None:
        """Time per output token after the first."""
        if self.first_token is None or self.finished is None or num_output_tokens < 2:
            return None
        return (self.finished - self.first_token) / (num_output_tokens - 1)


@dataclass
class Request:
    """A sequence with its sampling, its text so far and its meter.

    logprobs: of the output tokens, prompt_logprobs: of the prompt's, of which the first has none; both empty unless the
    request wants them.
    num_cached_tokens: of the prompt, found in the cache and not computed; cached_tokens_by_tier: the same by where they
    were found (device, host, disk). miss: why no more of it was; None where prefixes are not kept.
    """

    request_id: str
    sequence: Sequence
    sampling: SamplingState
    decoder: StreamDecoder | None
    meter: Meter
    lookup: PromptLookup | None = None
    text: str = ""
    finish_reason: FinishReason | None = None
    output_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=list[TokenLogprob | None])
    num_cached_tokens: int = 0
    cached_tokens_by_tier: dict[str, int] = field(default_factory=dict)
    miss: Miss | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """News of one request after a step. text: what can be shown of it now. token_id: the token sampled, if any.

    logprob: of that token, where the request wants it.
    """

    request_id: str
    num_computed_tokens: int
    token_id: int | None = None
    text: str = ""
    finish_reason: FinishReason | None = None
    logprob: TokenLogprob | None = None
