"""The log-probabilities that a step's logits give: of prompts, and of the tokens that were chosen."""

from collections.abc import Mapping, Sequence

from windowtax.engine.candidates import Logits
from windowtax.engine.logprobs import TokenLogprob, token_logprobs
from windowtax.engine.request import Request
from windowtax.engine.sampler import SamplingState
from windowtax.schedule.step import Step


def score_prompts(step: Step, logits: Logits, requests: Mapping[str, Request]) -> Logits:
    """Notes the log-probabilities of the prompts that want them; returns the rows of logits that sample.

    logits [rows, V]: as the runner gives them. Without such a prompt they are returned as they are.
    """
    if not any(chunk.sequence.scores_prompt for chunk in step.chunks):
        return logits
    sampling: list[int] = []
    end = 0
    for chunk in step.chunks:
        begin, end = end, end + chunk.num_logits
        if chunk.sequence.scores_prompt:
            _score_prompt(requests[chunk.sequence.sequence_id], chunk.start, logits[begin:end])
        if chunk.samples:
            sampling += range(end - 1 - chunk.num_drafts, end)
    return logits[sampling]


def chosen_logprobs(
    logits: Logits, token_ids: Sequence[int], states: Sequence[SamplingState]
) -> list[TokenLogprob | None]:
    """Those of the tokens that were chosen from the rows of logits [B, V]; None where the request wants none."""
    if all(state.params.logprobs is None for state in states):
        return [None] * len(token_ids)  # to take a tensor apart row by row takes longer than a layer
    return [
        None if state.params.logprobs is None else token_logprobs(row[None], [token_id], state.params.logprobs)[0]
        for row, token_id, state in zip(logits, token_ids, states, strict=True)
    ]


def _score_prompt(request: Request, start: int, logits: Logits) -> None:
    """logits [T, V]: of the tokens from position `start` on; each tells of the token behind it.

    After a preemption the prompt is computed again from its start; what is known already is passed over.
    """
    sequence, known = request.sequence, request.prompt_logprobs
    targets = sequence.token_ids[len(known) : min(start + len(logits) + 1, sequence.num_prompt_tokens)]
    rows = logits[len(known) - 1 - start :][: len(targets)]
    known += token_logprobs(rows, targets, request.sampling.params.prompt_logprobs or 0)
    # From here on it is a sequence like any other.
    sequence.scores_prompt = len(known) < sequence.num_prompt_tokens
