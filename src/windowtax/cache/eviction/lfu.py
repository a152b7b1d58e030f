"""Least frequently used: keeps what many asked for, at the price of keeping what was popular long ago."""

from windowtax.cache.eviction.base import EVICTION, CachedBlock


@EVICTION.register("lfu")
def rank(block: CachedBlock) -> tuple[int, ...]:
    """By number of uses since it was kept; of equals the least recently used one goes first."""
    return block.uses, block.last_used, -block.depth
