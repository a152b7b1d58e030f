"""What keeping the cache in fewer bits costs in quality: perplexity, divergence and greedy agreement on a real text.

All dtypes read the same window side by side, chunk by chunk, so each choice is compared with that of the first dtype
on exactly the same tokens before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine
from windowtax.schedule import sequence as schedule
from windowtax.schedule.step import Chunk, Step

CHUNK_TOKENS = 256
"""Tokens whose logits are in memory at once, for each dtype."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One cache dtype on one text, measured. cache_bytes_per_token: derived.

    perplexity: of every token but the first of each window. divergence_nats: the mean Kullback-Leibler divergence of
    its next-token distribution from the first dtype's. same_choice: the share of positions where both hold the same
    token for the likeliest. same_greedy_tokens: how many tokens of the first dtype's greedy answer it would also have
    chosen in their places.
    """

    cache_dtype: str
    cache_bytes_per_token: int
    perplexity: float
    divergence_nats: float
    same_choice: float
    same_greedy_tokens: int


@dataclass
class _Sums:
    """Over all positions of all windows, for one dtype."""

    loss_nats: float = 0.0
    divergence_nats: float = 0.0
    same_choice: int = 0
    positions: int = 0

    @property
    def perplexity(self) -> float:
        """e to the mean loss."""
        return exp(self.loss_nats / self.positions)

    def add(self, scores: Tensor, against: Tensor, next_ids: Tensor) -> None:
        """scores, against: log-probabilities [T, vocab_size] of the dtype and of the first one."""
        self.loss_nats -= float(scores.gather(1, next_ids[:, None]).double().sum())
        self.divergence_nats += float((against.exp() * (against - scores)).sum(-1).double().sum())
        self.same_choice += int((scores.argmax(-1) == against.argmax(-1)).sum())
        self.positions += len(next_ids)


def measure_quality(
    model: LoadedModel,
    windows: Sequence[Sequence[int]],
    cache_dtypes: Sequence[str],
    *,
    prompt_tokens: int,
    greedy_tokens: int,
    progress: Callable[[str, int], None],
) -> list[Quality]:
    """Measures each dtype against the first one.

    windows: token ids of the text, of two tokens or more each. prompt_tokens: of the first window, which the first
    dtype answers with greedy_tokens. progress: is told what is computed, and how many tokens of it are done. Raises
    BadInput where a window is too short, DoesNotFit where the caches of all dtypes do not fit together.
    """
    if any(len(window) < 2 for window in windows) or not 0 < prompt_tokens <= len(windows[0]):
        raise BadInput("A window needs at least two tokens, and the prompt lies inside of the first one.")
    read = [_Sums() for _ in cache_dtypes]
    done = 0
    for window in windows:
        for count in _compare(model, window, cache_dtypes, read):
            done += count
            progress("perplexity", done)
    progress("the greedy answer", 0)
    prompt = list(windows[0][:prompt_tokens])
    answer = _greedy(model, prompt, greedy_tokens, cache_dtypes[0])
    answered, done = [_Sums() for _ in cache_dtypes], 0
    for count in _compare(model, prompt + answer, cache_dtypes, answered, begin=prompt_tokens - 1):
        done += count
        progress("the greedy answer in all dtypes", done)
    return [
        Quality(
            cache_dtype=name,
            cache_bytes_per_token=_engine(model, 2, name).cache.layout.growth_bytes_per_token,
            perplexity=found.perplexity,
            divergence_nats=found.divergence_nats / found.positions,
            same_choice=found.same_choice / found.positions,
            same_greedy_tokens=said.same_choice,
        )
        for name, found, said in zip(cache_dtypes, read, answered, strict=True)
    ]


def _compare(
    model: LoadedModel, window: Sequence[int], cache_dtypes: Sequence[str], sums: list[_Sums], begin: int = 0
) -> Iterator[int]:
    """Reads one window in all dtypes at once; yields the number of tokens of each chunk. begin: positions before it do
    not count."""
    engines = [_engine(model, len(window) + 1, name) for name in cache_dtypes]
    ids = torch.tensor(window, device=model.device)
    for start in range(0, len(window) - 1, CHUNK_TOKENS):
        end = min(start + CHUNK_TOKENS, len(window) - 1)
        first: Tensor | None = None
        for engine, found in zip(engines, sums, strict=True):
            scores = _all_logits(engine, window, start, end).log_softmax(-1)
            first = scores if first is None else first
            skipped = min(max(0, begin - start), end - start)
            found.add(scores[skipped:], first[skipped:], ids[start + skipped + 1 : end + 1])
        yield end - start


def _all_logits(engine: Engine, window: Sequence[int], start: int, end: int) -> Tensor:
    """Logits [end - start, vocab_size] of all tokens start ... end - 1: as drafts, each of which is checked."""
    sequence = schedule.Sequence("window", list(window[: start + 1]), len(window))
    sequence.draft_ids += window[start + 1 : end]
    num_tokens = end - start
    engine.cache.reserve(sequence.sequence_id, start, num_tokens)
    logits = engine.runner.run(Step((Chunk(sequence, start, num_tokens, num_tokens - 1),)))
    engine.cache.trim(sequence.sequence_id, end)
    return logits


def _greedy(model: LoadedModel, prompt_ids: list[int], num_tokens: int, cache_dtype: str) -> list[int]:
    engine = _engine(model, len(prompt_ids) + num_tokens, cache_dtype)
    request = engine.add(prompt_ids, SamplingParams(max_tokens=num_tokens, ignore_eos=True))
    for _ in engine.run(request):
        pass
    return request.output_ids


def _engine(model: LoadedModel, context_tokens: int, cache_dtype: str) -> Engine:
    return open_engine(model, context_tokens, EngineOptions(cache_dtype=cache_dtype, step_tokens=CHUNK_TOKENS))
