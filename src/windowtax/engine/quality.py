"""What keeping cache or weights in fewer bits costs in quality: perplexity, divergence and greedy agreement on a text.

All choices read the same window side by side, chunk by chunk, so each is compared with the first on exactly the same
tokens before it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp

import torch
from torch import Tensor

from windowtax.base.errors import BadInput
from windowtax.engine.candidates import Logits
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, ModelFiles
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.session import EngineOptions, open_engine
from windowtax.schedule import sequence as schedule
from windowtax.schedule.step import Chunk, Step

CHUNK_TOKENS = 256
"""Tokens whose logits are in memory at once, for each choice."""


@dataclass(frozen=True, slots=True)
class Choice:
    """In what bits weights (engine.backend.WEIGHTS) and cache (spec.dtypes.cache_dtype) are kept."""

    weights: str
    cache_dtype: str


@dataclass(frozen=True, kw_only=True)
class Quality:
    """One choice on one text, measured. weight_bytes, cache_bytes_per_token: derived. computed_by: native or torch.

    perplexity: of every token but the first of each window. divergence_nats: the mean Kullback-Leibler divergence of
    its next-token distribution from the first choice's. same_choice: the share of positions where both hold the same
    token for the likeliest. same_greedy_tokens: how many tokens of the first choice's greedy answer it would also have
    chosen in their places.
    """

    weights: str
    cache_dtype: str
    computed_by: str
    weight_bytes: int
    cache_bytes_per_token: int
    perplexity: float
    divergence_nats: float
    same_choice: float
    same_greedy_tokens: int


@dataclass
class _Sums:
    """Over all positions of all windows, for one choice."""

    loss_nats: float = 0.0
    divergence_nats: float = 0.0
    same_choice: int = 0
    positions: int = 0

    @property
    def perplexity(self) -> float:
        """e to the mean loss."""
        return exp(self.loss_nats / self.positions)

    def add(self, scores: Tensor, against: Tensor, next_ids: Tensor) -> None:
        """scores, against: log-probabilities [T, vocab_size] of the choice and of the first one."""
        self.loss_nats -= float(scores.gather(1, next_ids[:, None]).double().sum())
        self.divergence_nats += float((against.exp() * (against - scores)).sum(-1).double().sum())
        self.same_choice += int((scores.argmax(-1) == against.argmax(-1)).sum())
        self.positions += len(next_ids)


def measure_quality(
    files: ModelFiles,
    windows: Sequence[Sequence[int]],
    choices: Sequence[Choice],
    *,
    prompt_tokens: int,
    greedy_tokens: int,
    progress: Callable[[str, int], None],
) -> list[Quality]:
    """Measures each choice against the first one.

    windows: token ids of the text, of two tokens or more each. prompt_tokens: of the first window, which the first
    choice answers with greedy_tokens. progress: is told what is computed, and how many tokens of it are done. Raises
    BadInput where a window is too short, DoesNotFit where the caches of all choices do not fit together.
    """
    if any(len(window) < 2 for window in windows) or not 0 < prompt_tokens <= len(windows[0]):
        raise BadInput("A window needs at least two tokens, and the prompt lies inside of the first one.")
    progress("loading", 0)
    subjects = _load(files, choices)
    read, done = [_Sums() for _ in subjects], 0
    for window in windows:
        for count in _compare(subjects, window, read):
            done += count
            progress("perplexity", done)
    progress("the greedy answer", 0)
    prompt = list(windows[0][:prompt_tokens])
    answer = _greedy(subjects[0], prompt, greedy_tokens)
    answered, done = [_Sums() for _ in subjects], 0
    for count in _compare(subjects, prompt + answer, answered, begin=prompt_tokens - 1):
        done += count
        progress("the greedy answer by all", done)
    return [_quality(*one) for one in zip(subjects, read, answered, strict=True)]


@dataclass(frozen=True, slots=True)
class _Subject:
    choice: Choice
    model: LoadedModel

    def engine(self, context_tokens: int) -> Engine:
        options = EngineOptions(cache_dtype=self.choice.cache_dtype, step_tokens=CHUNK_TOKENS)
        return open_engine(self.model, context_tokens, options)


def _load(files: ModelFiles, choices: Sequence[Choice]) -> list[_Subject]:
    """Each choice with its model; those that differ in the cache only share one."""
    loaded: dict[tuple[str, str], LoadedModel] = {}
    subjects: list[_Subject] = []
    for choice in choices:
        backend = files.backend(choice.cache_dtype, choice.weights)
        key = backend.name, backend.weights
        if key not in loaded:
            loaded[key] = files.load(backend)
        subjects.append(_Subject(choice, loaded[key]))
    return subjects


def _quality(subject: _Subject, found: _Sums, said: _Sums) -> Quality:
    return Quality(
        weights=subject.choice.weights,
        cache_dtype=subject.choice.cache_dtype,
        computed_by=subject.model.backend.name,
        weight_bytes=subject.model.weight_bytes,
        cache_bytes_per_token=subject.engine(2).cache.layout.growth_bytes_per_token,
        perplexity=found.perplexity,
        divergence_nats=found.divergence_nats / found.positions,
        same_choice=found.same_choice / found.positions,
        same_greedy_tokens=said.same_choice,
    )


def _compare(subjects: Sequence[_Subject], window: Sequence[int], sums: list[_Sums], begin: int = 0) -> Iterator[int]:
    """All subjects read one window; yields the number of tokens of each chunk. begin: positions before it do not
    count."""
    engines = [subject.engine(len(window) + 1) for subject in subjects]
    ids = torch.tensor(window)
    for start in range(0, len(window) - 1, CHUNK_TOKENS):
        end = min(start + CHUNK_TOKENS, len(window) - 1)
        first: Tensor | None = None
        for engine, found in zip(engines, sums, strict=True):
            scores = torch.from_numpy(_all_logits(engine, window, start, end)).log_softmax(-1)
            first = scores if first is None else first
            skipped = min(max(0, begin - start), end - start)
            found.add(scores[skipped:], first[skipped:], ids[start + skipped + 1 : end + 1])
        yield end - start


def _all_logits(engine: Engine, window: Sequence[int], start: int, end: int) -> Logits:
    """Logits [end - start, vocab_size] of all tokens start ... end - 1: as drafts, each of which is checked."""
    sequence = schedule.Sequence("window", list(window[: start + 1]), len(window))
    sequence.draft_ids += window[start + 1 : end]
    num_tokens = end - start
    engine.cache.reserve(sequence.sequence_id, start, num_tokens)
    logits = engine.runner.run(Step((Chunk(sequence, start, num_tokens, num_tokens - 1),)))
    engine.cache.trim(sequence.sequence_id, end)
    return logits


def _greedy(subject: _Subject, prompt_ids: list[int], num_tokens: int) -> list[int]:
    engine = subject.engine(len(prompt_ids) + num_tokens)
    request = engine.add(prompt_ids, SamplingParams(max_tokens=num_tokens, ignore_eos=True))
    for _ in engine.run(request):
        pass
    return request.output_ids
