"""An engine for one window: memory is admitted by exact bytes before anything is allocated or computed."""

from dataclasses import dataclass

from windowtax.base.errors import DoesNotFit
from windowtax.base.units import format_bytes, format_exact_bytes
from windowtax.cache.manager import CacheManager
from windowtax.engine.backend import Backend
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, ModelFiles
from windowtax.engine.memory import RESERVE_BYTES, admit_pool, free_bytes
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS, SchedulerConfig
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec


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


def usable_bytes(device: str) -> int:
    """What is free now, less what is left to others."""
    return max(0, free_bytes(device) - RESERVE_BYTES)


def admit(files: ModelFiles, context_tokens: int, options: EngineOptions, free: int | None = None) -> None:
    """Raises DoesNotFit, with the sum, where weights and one window of that length do not fit.

    free: the usable bytes, as they were before any weight was read; None for now.
    """
    free = usable_bytes(files.device) if free is None else free
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
    free = usable_bytes(model.device)
    layout, blocks = _blocks(model.spec, model.backend, context_tokens, options, free)
    config = SchedulerConfig(max_step_tokens=options.step_tokens)
    return Engine(model, CacheManager(layout, blocks), config, context_tokens, draft_tokens=options.draft_tokens)


def layout_of(spec: ModelSpec, backend: Backend, options: EngineOptions) -> CacheLayout:
    """What the model's layers keep. Raises BadInput where whoever computes cannot keep it so."""
    layout = spec.layout(cache_dtype(options.cache_dtype))
    if backend.native is None:  # what native code does not keep, it refuses when its program is recorded
        from windowtax.store.kv import refuse_unstorable

        refuse_unstorable(layout)
    return layout


def _blocks(
    spec: ModelSpec, backend: Backend, context_tokens: int, options: EngineOptions, free: int
) -> tuple[CacheLayout, tuple[int, ...]]:
    layout = layout_of(spec, backend, options)
    if options.limit_bytes is not None:
        free = min(free, options.limit_bytes)
    return layout, admit_pool(layout, context_tokens, options.step_tokens, free)


def longest_window(model: LoadedModel, options: EngineOptions) -> int:
    """The longest context that the memory holds for one sequence: the model's own window, or less."""
    layout = model.spec.layout(cache_dtype(options.cache_dtype))
    free = usable_bytes(model.device)
    pool_bytes = free // 2 if options.limit_bytes is None else min(options.limit_bytes, free)
    longest = layout.longest_admitted(pool_bytes, options.step_tokens)
    return model.spec.max_context_tokens if longest is None else min(longest, model.spec.max_context_tokens)
