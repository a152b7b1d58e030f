"""What a service has done so far, in sums: for gauges, estimates and the metrics page."""

from collections import Counter
from dataclasses import dataclass, field

from windowtax.engine.request import FinishReason, Request

_MEMORY = 0.9
"""How much of an old mean is kept when a new value comes in."""


@dataclass
class Tally:
    """Sums in tokens, bytes and seconds. seconds_per_request: a moving mean, 0 before any.

    A prompt counts from the first token of its answer on, output tokens one by one, all else when its request is over.
    """

    num_requests: Counter[str] = field(default_factory=Counter[str])
    prompt_tokens: int = 0
    cached_tokens: Counter[str] = field(default_factory=Counter[str])
    output_tokens: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    byte_seconds: float = 0.0
    num_preemptions: int = 0
    num_moves: int = 0
    moved_bytes: int = 0
    recomputed_tokens: int = 0
    num_steps: int = 0
    step_s: float = 0.0
    failed_steps: int = 0
    seconds_per_request: float = 0.0
    _rated_tokens: int = 0
    _rated_s: float = 0.0
    _answering: set[str] = field(default_factory=set[str])

    def stepped(self, seconds: float) -> None:
        """Books a step."""
        self.num_steps += 1
        self.step_s += seconds

    def sampled(self, request: Request) -> None:
        """Books a token of a request's answer."""
        self.output_tokens += 1
        self._book_prompt(request)

    def ended(self, request: Request, reason: FinishReason | None) -> None:
        """Books a request that is over. reason: None where it failed."""
        meter, sequence = request.meter, request.sequence
        self.num_requests["error" if reason is None else str(reason)] += 1
        self._book_prompt(request)
        self._answering.discard(request.request_id)
        self.prefill_tokens += meter.prefill_tokens
        self.prefill_s += meter.prefill_s
        if meter.prefill_s_per_token is not None:
            self._rated_tokens += meter.prefill_tokens
            self._rated_s += meter.prefill_s
        self.decode_s += meter.decode_s
        self.byte_seconds += meter.byte_seconds
        self.num_preemptions += sequence.num_preemptions
        self.num_moves += sequence.num_moves
        self.moved_bytes += sequence.moved_bytes
        self.recomputed_tokens += sequence.num_recomputed_tokens
        busy = meter.prefill_s + meter.decode_s
        mean = self.seconds_per_request
        self.seconds_per_request = busy if not mean else _MEMORY * mean + (1 - _MEMORY) * busy

    def _book_prompt(self, request: Request) -> None:
        if request.request_id not in self._answering:
            self._answering.add(request.request_id)
            self.prompt_tokens += request.sequence.num_prompt_tokens
            self.cached_tokens.update(request.cached_tokens_by_tier)

    @property
    def prefill_s_per_token(self) -> float | None:
        """Seconds that a prompt token has taken here, on average; None before any.

        Prompts of which the cache held nearly all are left out: their few tokens say what a decode step takes.
        """
        return self._rated_s / self._rated_tokens if self._rated_tokens else None
