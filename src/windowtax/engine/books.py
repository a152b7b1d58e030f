"""The books of a running engine, for people and pages: read them in the thread that owns the engine."""

from typing import Any

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.schedule.scheduler import largest_window

Json = dict[str, Any]


def window_tokens(engine: Engine) -> int:
    """The longest that prompt and answer may be together: the engine's window, as far as its pool holds it."""
    return min(engine.context_tokens, largest_window(engine.cache, engine.scheduler.config.max_step_tokens))


def windows_held(engine: Engine) -> float:
    """How many sequences of a full window the pool holds at once."""
    need = engine.cache.layout.peak_blocks(window_tokens(engine), engine.scheduler.config.max_step_tokens)
    return min((have / count for have, count in zip(engine.cache.num_blocks, need, strict=True) if count), default=0.0)


def forget_unused(engine: Engine) -> int:
    """Gives back every kept block that nobody uses; returns how many those were."""
    return engine.cache.forget() if isinstance(engine.cache, SharedCache) else 0


def books_of(engine: Engine, num_listed: int = 0) -> Json:
    """What the pool holds, who holds it, and what is kept; up to num_listed kept blocks one by one.

    Bytes are exact. No prompt is shown: blocks go by their hashes.
    """
    books, layout = engine.cache, engine.cache.layout
    found: Json = {
        "pool_bytes": layout.pool_bytes(books.num_blocks),
        "held_bytes": books.held_bytes,
        "free_bytes": books.free_bytes,
        "peak_bytes": books.peak_bytes,
        "block_tokens": layout.block_size,
        "bytes_per_token": layout.growth_bytes_per_token,
        "groups": [
            {
                "layers": list(group.layers),
                "num_blocks": pool.num_blocks,
                "num_free": pool.num_free,
                "block_bytes": layout.block_bytes(index),
            }
            for index, (group, pool) in enumerate(zip(layout.groups, books.pools, strict=True))
        ],
        "sequences": [
            {
                "request": sequence.sequence_id,
                "status": str(sequence.status),
                "tokens": len(sequence.token_ids),
                "computed_tokens": sequence.num_computed_tokens,
                "cached_tokens": sequence.num_cached_tokens,
                "held_bytes": books.held_bytes_of(sequence.sequence_id),
            }
            for sequence in [*engine.scheduler.running, *engine.scheduler.waiting]
        ],
    }
    return found | _kept(books, num_listed) if isinstance(books, SharedCache) else found


def _kept(books: SharedCache, num_listed: int) -> Json:
    kept = list(books.index.blocks())
    return {
        "shares_prefixes": books.can_share,
        "kept_blocks": len(kept),
        "kept_unused_bytes": books.kept_bytes,
        "evicted_blocks": books.num_evicted,
        "blocks": [_block(block) for block in kept[:num_listed]],
    }


def _block(block: CachedBlock) -> Json:
    """One kept block. parent: the block before it; None for the first of a prefix."""
    return {
        "block": _hex(block),
        "parent": None if block.parent is None else _hex(block.parent),
        "depth": block.depth,
        "users": block.references,
        "uses": block.uses,
        "tier": "device",
    }


def _hex(block: CachedBlock) -> str:
    return block.key.hex() if isinstance(block.key, bytes) else str(block.key)
