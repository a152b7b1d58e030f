"""An engine for one window: memory is admitted by exact bytes before anything is allocated or computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.base.errors import DoesNotFit
from windowtax.base.units import format_bytes, format_exact_bytes
from windowtax.cache.manager import CacheManager
from windowtax.cache.shared import SharedCache
from windowtax.cache.tiers import Books, Speeds
from windowtax.engine.backend import Backend
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, ModelFiles
from windowtax.engine.memory import RESERVE_BYTES, admit_pool, free_bytes, shared_pool
from windowtax.engine.offload import HostSpace
from windowtax.engine.tier_options import TierOptions, open_tiers
from windowtax.engine.tiering import TieredCache
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS, SchedulerConfig
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec

OFFLOAD_BYTES = 2**30
"""Of host RAM, for preempted sequences, where the user gave the cache none; at most half of what the pool leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine runs. cache_dtype: as `spec.dtypes.cache_dtype` reads it. step_tokens: the longest prefill chunk.

    limit_bytes: the most that the KV pool may take; None for what the machine has free. draft_tokens: the most tokens
    that prompt lookup guesses ahead; 0 for none. weights: in what bits they are kept (engine.backend.WEIGHTS).
    """

    cache_dtype: str = "bf16"
    step_tokens: int = DEFAULT_STEP_TOKENS
    limit_bytes: int | None = None
    draft_tokens: int = 0
    weights: str = "stored"


def admit(files: ModelFiles, context_tokens: int, options: EngineOptions) -> None:
    """Raises DoesNotFit, with the sum, where weights and one window of that length do not fit: before any is read."""
    free = max(0, free_bytes(files.device) - RESERVE_BYTES)
    backend = files.backend(options.cache_dtype, options.weights)
    weight_bytes = files.weight_bytes(backend)
    if weight_bytes > free:
        raise DoesNotFit(
            f"The weights of {files.spec.name} take {format_exact_bytes(weight_bytes)}, kept {backend.weights_text}; "
            f"{format_bytes(free)} are free.",
            "Close other programs, keep the weights in fewer bits (--weights int8 or int4), or take a smaller model "
            "(windowtax models list).",
        )
    _blocks(files.spec, backend, context_tokens, options, free - weight_bytes)


def open_engine(model: LoadedModel, context_tokens: int, options: EngineOptions) -> Engine:
    """An engine whose pool holds one window of that length. Raises DoesNotFit, with the sum, where it does not fit."""
    free = max(0, free_bytes(model.device) - RESERVE_BYTES)
    layout, blocks = _blocks(model.spec, model.backend, context_tokens, options, free)
    config = SchedulerConfig(max_step_tokens=options.step_tokens)
    return Engine(model, CacheManager(layout, blocks), config, context_tokens, draft_tokens=options.draft_tokens)


def _layout(spec: ModelSpec, backend: Backend, options: EngineOptions) -> CacheLayout:
    layout = spec.layout(cache_dtype(options.cache_dtype))
    if backend.native is None:  # what native code does not keep, it refuses when its program is recorded
        from windowtax.store.kv import refuse_unstorable

        refuse_unstorable(layout)
    return layout


def _blocks(
    spec: ModelSpec, backend: Backend, context_tokens: int, options: EngineOptions, free: int
) -> tuple[CacheLayout, tuple[int, ...]]:
    layout = _layout(spec, backend, options)
    if options.limit_bytes is not None:
        free = min(free, options.limit_bytes)
    return layout, admit_pool(layout, context_tokens, options.step_tokens, free)


def open_shared_engine(
    model: LoadedModel,
    context_tokens: int,
    options: EngineOptions,
    *,
    max_sequences: int = 64,
    policy: str = "lru",
    tiers: TierOptions | None = None,
) -> Engine:
    """An engine for many requests at once: prefixes are kept and shared, and prompts share the steps.

    options.limit_bytes: of the pool; half of what is free where None. max_sequences: running at once. policy: which
    unused blocks go first (cache/eviction). tiers: host RAM and disk below the device, None for none; preempted
    sequences wait in that RAM, or in OFFLOAD_BYTES of their own. Raises DoesNotFit, with the sum, where one window does
    not fit; BadInput for a folder that cannot be used.
    """
    layout = _layout(model.spec, model.backend, options)
    free = max(0, free_bytes(model.device) - RESERVE_BYTES)
    pool_bytes = free // 2 if options.limit_bytes is None else min(options.limit_bytes, free)
    blocks = shared_pool(layout, context_tokens, options.step_tokens, max_sequences, pool_bytes)
    config = SchedulerConfig(max_step_tokens=options.step_tokens, max_sequences=max_sequences, share_prefill=True)
    spare = max(0, free - layout.pool_bytes(blocks)) // 2
    cache = _shared_cache(model, layout, blocks, options, policy, tiers or TierOptions(), min(spare, OFFLOAD_BYTES))
    return Engine(model, cache, config, context_tokens, draft_tokens=options.draft_tokens)


def _shared_cache(
    model: LoadedModel,
    layout: CacheLayout,
    blocks: Sequence[int],
    options: EngineOptions,
    policy: str,
    tiers: TierOptions,
    offload_bytes: int,
) -> SharedCache:
    fingerprint = model.fingerprint(options.cache_dtype)
    form = {
        "model": model.spec.name,
        "source": model.source,
        "cache_dtype": options.cache_dtype,
        "weights": model.backend.weights,
    }
    lower = open_tiers(tiers, fingerprint=fingerprint, layout=layout, form=form)
    room = lower if lower is not None and tiers.ram_bytes else Books(offload_bytes)
    block_bytes = [layout.block_bytes(group) for group in range(len(layout.groups))]
    space = HostSpace(room, block_bytes, Speeds() if lower is None else lower.speeds)
    if lower is None:
        return SharedCache(layout, blocks, fingerprint=fingerprint, policy=policy, space=space)
    return TieredCache(layout, blocks, lower, fingerprint=fingerprint, policy=policy, space=space)


def longest_window(model: LoadedModel, options: EngineOptions) -> int:
    """The longest context that the memory holds for one sequence: the model's own window, or less."""
    layout = model.spec.layout(cache_dtype(options.cache_dtype))
    free = max(0, free_bytes(model.device) - RESERVE_BYTES)
    pool_bytes = free // 2 if options.limit_bytes is None else min(options.limit_bytes, free)
    longest = layout.longest_admitted(pool_bytes, options.step_tokens)
    return model.spec.max_context_tokens if longest is None else min(longest, model.spec.max_context_tokens)
