"""The books of a running engine, for people and pages: read them in the thread that owns the engine."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

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


def unused_bytes(engine: Engine) -> int:
    """Bytes of kept blocks that no request uses now."""
    return engine.cache.kept_bytes if isinstance(engine.cache, SharedCache) else 0


def forget_unused(engine: Engine) -> int:
    """Gives back every kept block that nobody uses; returns how many those were."""
    return engine.cache.forget() if isinstance(engine.cache, SharedCache) else 0


def books_of(engine: Engine, salt: str = "", num_listed: int = 0) -> Json:
    """What the pool holds, who holds it, and what is kept; up to num_listed kept blocks one by one.

    Bytes are exact, and everybody's. Sequences and blocks are those of the asking tenant: the name of a block is a hash
    of what is in it, which whoever guesses that could check.
    """
    books, layout = engine.cache, engine.cache.layout
    sequences = [*engine.scheduler.running, *engine.scheduler.waiting]
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
            for sequence in sequences
            if sequence.salt == salt
        ],
        "other_sequences": sum(sequence.salt != salt for sequence in sequences),
    }
    return found | _kept(books, salt, num_listed) if isinstance(books, SharedCache) else found


def _kept(books: SharedCache, salt: str, num_listed: int) -> Json:
    return {
        "shares_prefixes": books.can_share,
        "kept_blocks": len(books.index),
        "kept_unused_bytes": books.kept_bytes,
        "state_checkpoints": books.num_checkpoints,
        "evicted_blocks": books.num_evicted,
        "blocks": [_block(block) for block in islice(_blocks_of(books, salt), num_listed)],
    }


def _blocks_of(books: SharedCache, salt: str) -> Iterator[CachedBlock]:
    """A tenant's kept blocks, each behind the one that it continues."""
    ahead = books.followers(None, salt)
    while ahead:
        block = ahead.pop()
        yield block
        ahead += books.followers(cast(bytes, block.key), salt)


def _block(block: CachedBlock) -> Json:
    """One kept block. parent: the block before it; None for the first of a prefix."""
    return {
        "block": _hex(block),
        "parent": None if block.parent is None else _hex(block.parent),
        "depth": block.depth,
        "users": block.references,
        "uses": block.uses,
    }


def _hex(block: CachedBlock) -> str:
    return cast(bytes, block.key).hex()
