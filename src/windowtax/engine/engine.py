"""The engine: a loop of steps. Schedule, execute, sample, commit."""

import itertools
import time
from collections.abc import Callable, Iterator

from windowtax.base.errors import BadInput
from windowtax.cache.manager import CacheManager
from windowtax.cache.miss import explain_miss
from windowtax.cache.shared import SharedCache
from windowtax.engine.detokenize import StreamDecoder
from windowtax.engine.load import LoadedModel
from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.request import Event, FinishReason, Meter, Request
from windowtax.engine.runner import make_runner
from windowtax.engine.sampler import Sampler, SamplingState
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.scoring import chosen_logprobs, score_prompts
from windowtax.engine.speculate import PromptLookup
from windowtax.engine.variant import salt_with_table
from windowtax.schedule.scheduler import Scheduler, SchedulerConfig
from windowtax.schedule.sequence import Sequence
from windowtax.schedule.step import Chunk, Step

_WAIT_S = 0.02
"""The longest that an engine with nothing to compute waits for a prefix before it looks around again."""


class Engine:
    """Runs requests on one model.

    cache: the books of the KV pool that is allocated here. context_tokens: the longest that a request may become.
    clock: seconds, for the meters. draft_tokens: the most tokens that prompt lookup may guess ahead; 0 for none.
    Raises BadInput where a model cannot take guesses back.
    """

    def __init__(
        self,
        model: LoadedModel,
        cache: CacheManager,
        config: SchedulerConfig,
        context_tokens: int,
        clock: Callable[[], float] = time.perf_counter,
        draft_tokens: int = 0,
    ) -> None:
        if draft_tokens and cache.layout.state_bytes:
            raise BadInput(
                f"{model.spec.name} folds its tokens into states, out of which a wrong guess cannot be taken again.",
                "Leave --speculate out.",
            )
        self.model = model
        self.cache = cache
        self.scheduler = Scheduler(config, cache)
        self.runner = make_runner(model.decoder, cache, model.device)
        cache.bind(self.runner.store)
        self.sampler = Sampler()
        self.context_tokens = context_tokens
        self.requests: dict[str, Request] = {}
        self.draft_tokens = draft_tokens
        self._clock = clock
        self._ids = itertools.count()

    @property
    def has_work(self) -> bool:
        """Whether any request is unfinished."""
        return self.scheduler.has_work

    def add(self, prompt_ids: list[int], params: SamplingParams, *, salt: str = "", priority: int = 0) -> Request:
        """Queues a request. Raises BadInput for an empty or too long one, DoesNotFit for one too large for the pool.

        salt: of the tenant; cached prefixes are only shared under the same salt. priority: lower goes first.
        """
        if not prompt_ids:
            raise BadInput("The prompt is empty.", "Give at least one token.")
        total = len(prompt_ids) + params.max_tokens
        if total > self.context_tokens:
            raise BadInput(
                f"{len(prompt_ids):,} prompt tokens and up to {params.max_tokens:,} of output make {total:,}, "
                f"but this engine's window is {self.context_tokens:,} tokens.",
                f"At most {max(0, self.context_tokens - len(prompt_ids)):,} output tokens fit; or open a wider window.",
            )
        params.refuse_other_model(self.model.spec.vocab_size)
        request_id = f"request-{next(self._ids)}"
        salt = salt_with_table(self.model.spec, total, salt)
        sequence = Sequence(request_id, list(prompt_ids), params.max_tokens, salt=salt, priority=priority)
        tokenizer = self.model.tokenizer
        shown = params.show_special_tokens
        decoder = None if tokenizer is None else StreamDecoder(tokenizer, params.stop, skip_special_tokens=not shown)
        sampling = SamplingState(params, sequence.token_ids, self._end_ids(params))
        # A draft is checked against the greedy choice; a penalty would have to follow the draft token by token.
        guesses = self.draft_tokens > 0 and params.may_guess
        lookup = PromptLookup(sequence.token_ids) if guesses else None
        request = Request(request_id, sequence, sampling, decoder, Meter(self._clock()), lookup)
        if params.prompt_logprobs is not None:
            request.prompt_logprobs.append(None)
            sequence.scores_prompt = len(prompt_ids) > 1
        self.scheduler.add(sequence)
        self.requests[request_id] = request
        return request

    def cancel(self, request_id: str) -> None:
        """Ends a request now; its blocks are free at once. Unknown or finished requests are left as they are."""
        request = self.requests.get(request_id)
        if request is not None:
            self._finish(request, FinishReason.CANCELLED, self._clock())

    def close(self) -> None:
        """Writes what a cache with lower tiers still has to write. The engine is not used after this."""
        self.cache.close()

    def step(self) -> list[Event]:
        """Computes one step and tells what came of it."""
        began = self._clock()
        self._guess()
        step = self.scheduler.schedule()
        if not step.chunks:
            self.cache.wait(_WAIT_S)  # all that could run waits for its prefix
            return []
        return self._commit(step, *self._sample(step), began)

    def run(self, request: Request) -> Iterator[Event]:
        """Steps until this request is finished; yields its events. Other requests go on beside it."""
        while request.finish_reason is None:
            yield from (event for event in self.step() if event.request_id == request.request_id)

    def _end_ids(self, params: SamplingParams) -> frozenset[int]:
        tokenizer = self.model.tokenizer
        own = frozenset[int]() if tokenizer is None or params.ignore_eos else tokenizer.stop_token_ids
        return own | frozenset(params.stop_token_ids)

    def _sample(self, step: Step) -> tuple[list[int], list[TokenLogprob | None]]:
        """Computes the step, and chooses tokens: the next ones, and after each draft."""
        states = [
            self.requests[chunk.sequence.sequence_id].sampling
            for chunk in step.chunks
            if chunk.samples
            for _ in range(chunk.num_drafts + 1)
        ]
        scores = any(chunk.sequence.scores_prompt for chunk in step.chunks)
        if not scores and not any(state.wants_logits for state in states):
            token_ids = self.runner.choose(step)
            return token_ids, [None] * len(token_ids)
        logits = score_prompts(step, self.runner.run(step), self.requests)
        if not states:
            return [], []
        token_ids = self.sampler.sample(logits, states)
        return token_ids, chosen_logprobs(logits, token_ids, states)

    def _commit(
        self, step: Step, token_ids: list[int], logprobs: list[TokenLogprob | None], began: float
    ) -> list[Event]:
        now = self._clock()
        self._measure(step, began, now)
        agreed = agreed_tokens(step, token_ids)
        self.scheduler.commit(step, {name: rejected for name, (_, rejected) in agreed.items()})
        events: list[Event] = []
        row = 0
        for chunk in step.chunks:
            request = self.requests[chunk.sequence.sequence_id]
            if chunk.samples:
                tokens = agreed[request.request_id][0]
                if request.lookup is not None and chunk.num_drafts:
                    request.lookup.learn(chunk.num_drafts, len(tokens) - 1)
                events += self._book_tokens(request, tokens, logprobs[row:], now)
                row += chunk.num_drafts + 1
            else:
                events.append(Event(request.request_id, chunk.end))
        return events

    def _book_tokens(
        self, request: Request, token_ids: list[int], logprobs: list[TokenLogprob | None], now: float
    ) -> Iterator[Event]:
        if not request.sampling.params.max_tokens:  # its prompt is computed, and that was all
            self._finish(request, FinishReason.LENGTH, now)
            yield Event(request.request_id, request.sequence.num_computed_tokens, finish_reason=FinishReason.LENGTH)
            return
        for index, (token_id, logprob) in enumerate(zip(token_ids, logprobs, strict=False)):
            request.meter.accepted_tokens += index > 0
            yield self._book_token(request, token_id, logprob, now)
            if request.finish_reason is not None:
                return

    def _guess(self) -> None:
        """Gives the running sequences that want drafts, and are about to decode, new ones."""
        for sequence in self.scheduler.running:
            request = self.requests[sequence.sequence_id]
            sequence.draft_ids.clear()
            if request.lookup is not None and sequence.num_uncomputed_tokens == 1:
                left = sequence.max_output_tokens - sequence.num_output_tokens - 1
                sequence.draft_ids += request.lookup.draft(min(self.draft_tokens, left))

    def _book_token(self, request: Request, token_id: int, logprob: TokenLogprob | None, now: float) -> Event:
        sequence, meter = request.sequence, request.meter
        if meter.first_token is None:
            meter.first_token = now
        sequence.token_ids.append(token_id)
        request.output_ids.append(token_id)
        if logprob is not None:
            request.logprobs.append(logprob)
        text, reason = self._text_and_end(request, token_id)
        request.text += text
        if reason is not None:
            self._finish(request, reason, now)
        return Event(request.request_id, sequence.num_computed_tokens, token_id, text, reason, logprob)

    def _text_and_end(self, request: Request, token_id: int) -> tuple[str, FinishReason | None]:
        sampling, decoder = request.sampling, request.decoder
        if token_id in sampling.end_ids:
            return (decoder.finish() if decoder else ""), FinishReason.STOP
        text = decoder.push(token_id, sampling.may_stop) if decoder else ""
        if decoder is not None and decoder.stopped is not None:
            return text, FinishReason.STOP
        if sampling.grammar_ended:
            return text + (decoder.finish() if decoder else ""), FinishReason.STOP
        if request.sequence.num_output_tokens >= sampling.params.max_tokens:
            return text + (decoder.finish() if decoder else ""), FinishReason.LENGTH
        return text, None

    def _finish(self, request: Request, reason: FinishReason, now: float) -> None:
        request.finish_reason = reason
        request.meter.finished = now
        self.scheduler.finish(request.sequence)
        # The caller holds the request; an engine that runs for weeks must not.
        del self.requests[request.request_id]

    def _tell_what_was_cached(self, request: Request) -> None:
        """Notes what of its prompt was found in the cache, and why no more of it."""
        sequence = request.sequence
        request.num_cached_tokens = sequence.num_cached_tokens
        if sequence.num_cached_tokens:
            found = self.cache.cached_by_tier(sequence.sequence_id) or {"device": sequence.num_cached_tokens}
            request.cached_tokens_by_tier.update(found)
        if isinstance(self.cache, SharedCache):
            prompt = sequence.token_ids[: sequence.num_prompt_tokens]
            request.miss = explain_miss(self.cache, prompt, sequence.salt, sequence.num_cached_tokens)

    def _measure(self, step: Step, began: float, now: float) -> None:
        """Splits the step's time over its chunks by tokens; a chunk of one new token behind a context is decode."""
        per_token = (now - began) / step.num_tokens
        for chunk in step.chunks:
            meter = self.requests[chunk.sequence.sequence_id].meter
            if meter.first_scheduled is None:
                meter.first_scheduled = began
                self._tell_what_was_cached(self.requests[chunk.sequence.sequence_id])
            meter.steps.append((chunk.start, chunk.num_tokens))
            meter.drafted_tokens += chunk.num_drafts
            held = self.cache.held_bytes_of(chunk.sequence.sequence_id)
            meter.peak_bytes = max(meter.peak_bytes, held)
            meter.byte_seconds += held * (now - began)
            share = per_token * chunk.num_tokens
            if is_decode(chunk):
                meter.decode_s += share
                meter.decode_steps += 1
                meter.decode_context_tokens += chunk.end
            else:
                meter.prefill_s += share
                meter.prefill_tokens += chunk.num_tokens
                if chunk.num_tokens > 1:  # one alone takes as long as a decode step: that is not a prompt's rate
                    self.cache.book_prefill(chunk.num_tokens, share)


def is_decode(chunk: Chunk) -> bool:
    """Whether a chunk computes one sampled token, rather than a piece of the prompt."""
    return chunk.num_tokens - chunk.num_drafts == 1 and chunk.start >= chunk.sequence.num_prompt_tokens


def agreed_tokens(step: Step, sampled: list[int]) -> dict[str, tuple[list[int], int]]:
    """By sequence: the tokens that a step yields, and how many of its drafts the model rejected.

    sampled: the model's choice after each draft and before the first. A sequence yields its drafts as far as the model
    chose the same, and then the model's own choice.
    """
    choices = iter(sampled)
    found: dict[str, tuple[list[int], int]] = {}
    for chunk in step.chunks:
        if not chunk.samples:
            continue
        chosen = [next(choices) for _ in range(chunk.num_drafts + 1)]
        num_agreed = 0
        while num_agreed < chunk.num_drafts and chunk.sequence.draft_ids[num_agreed] == chosen[num_agreed]:
            num_agreed += 1
        found[chunk.sequence.sequence_id] = chosen[: num_agreed + 1], chunk.num_drafts - num_agreed
    return found
