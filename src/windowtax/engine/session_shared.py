"""An engine for many requests at once: what is shared, kept and moved between tiers is imported here, and nowhere on
the way of one window alone."""

from collections.abc import Sequence

from windowtax.cache.shared import SharedCache
from windowtax.cache.tiers import Books, Speeds
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel
from windowtax.engine.memory import RESERVE_BYTES, free_bytes, shared_pool
from windowtax.engine.offload import HostSpace
from windowtax.engine.session import EngineOptions, layout_of
from windowtax.engine.tier_options import TierOptions, open_tiers
from windowtax.engine.tiering import TieredCache
from windowtax.schedule.scheduler import SchedulerConfig
from windowtax.spec.cache import CacheLayout

OFFLOAD_BYTES = 2**30
"""Of host RAM, for preempted sequences, where the user gave the cache none; at most half of what the pool leaves."""


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
    layout = layout_of(model.spec, model.backend, options)
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
