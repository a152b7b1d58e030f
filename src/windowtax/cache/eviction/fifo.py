"""First in, first out: by age, whatever was used since. The baseline that a policy has to beat."""

from windowtax.cache.eviction.base import EVICTION, CachedBlock


@EVICTION.register("fifo")
def rank(block: CachedBlock) -> tuple[int, ...]:
    """By birth; of blocks of one age, the one furthest from the start goes first."""
    return block.born, -block.depth
