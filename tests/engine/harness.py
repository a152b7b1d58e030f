"""Engines for tests: small pools, small blocks, any model."""

from collections.abc import Sequence

from windowtax.cache.manager import CacheManager
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.request import Request
from windowtax.engine.sampling import SamplingParams
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.dtypes import cache_dtype as find_cache_dtype


def make_engine(
    model: LoadedModel,
    context_tokens: int,
    *,
    step_tokens: int = 64,
    cache_dtype: str = "fp32",
    block_size: int = 4,
    num_blocks: Sequence[int] | None = None,
    windows: int = 1,
    states: int = 1,
    draft_tokens: int = 0,
) -> Engine:
    """An engine whose pool holds `windows` windows of that length, unless num_blocks says otherwise, and so many
    states."""
    layout = model.spec.layout(find_cache_dtype(cache_dtype), block_size)
    blocks = num_blocks or [
        max(windows, states if group.cache.is_state else 1) * count
        for group, count in zip(layout.groups, layout.peak_blocks(context_tokens, step_tokens), strict=True)
    ]
    config = SchedulerConfig(max_step_tokens=step_tokens)
    return Engine(model, CacheManager(layout, blocks), config, context_tokens, draft_tokens=draft_tokens)


def block_size_of(cache_dtype: str) -> int:
    """The smallest block that a cache dtype allows, and 4 tokens at least, so that short texts have many."""
    return max(4, find_cache_dtype(cache_dtype).span)


def greedy(max_tokens: int) -> SamplingParams:
    """Greedy decoding of exactly that many tokens."""
    return SamplingParams(max_tokens=max_tokens, ignore_eos=True)


def say(engine: Engine, token_ids: Sequence[int]) -> None:
    """Makes the engine choose these tokens, one after the other, whatever the model computes."""
    ahead = iter(token_ids)
    engine.sampler.sample = lambda logits, requests: [next(ahead) for _ in requests]
    engine.runner.choose = lambda step: [next(ahead) for chunk in step.chunks for _ in range(chunk.num_logits)]


def run_all(engine: Engine, prompts: Sequence[list[int]], params: SamplingParams) -> list[list[int]]:
    """The output ids of all prompts, run together."""
    requests: list[Request] = [engine.add(prompt, params) for prompt in prompts]
    while engine.has_work:
        engine.step()
    return [request.output_ids for request in requests]
