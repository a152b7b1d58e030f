"""Least recently used: the policy of nearly every engine, and a stack policy: a larger cache never keeps less."""

from windowtax.cache.eviction.base import EVICTION, CachedBlock


@EVICTION.register("lru")
def rank(block: CachedBlock) -> tuple[int, ...]:
    """By last use; of blocks used together, the one furthest from the start goes first."""
    return block.last_used, -block.depth
