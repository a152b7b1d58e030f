"""What a policy may look at, and the protocol: `rank(block) -> tuple`; of all evictable blocks the lowest goes first.

Evictable are blocks that no sequence uses and that no kept block continues: a chain goes from its end, because a block
whose predecessor is gone can never be found again. A rank is taken when a block becomes evictable; nothing that it may
depend on changes while it stays so.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from windowtax.base.registry import Registry


@dataclass(slots=True, eq=False)
class CachedBlock:
    """One whole block of a kept prefix.

    key: its chained hash. depth: blocks before it in its chain. born, last_used: ticks of the index's own counter (one
    for each acquire and insert; no clock). uses: how often a sequence took it. references: sequences that use it now.
    children: kept blocks that continue it. offer: the number of its place in the order of eviction, 0 while it has
    none.
    place: where its bytes are, if the owner of the index keeps that here; content: its tokens, likewise.
    """

    key: Hashable
    parent: "CachedBlock | None"
    depth: int
    born: int
    last_used: int
    uses: int = 1
    references: int = 1
    children: int = 0
    offer: int = 0
    place: object = None
    content: tuple[int, ...] = ()

    @property
    def evictable(self) -> bool:
        """Whether nobody uses it and nothing kept continues it."""
        return self.references == 0 and self.children == 0


Rank = Callable[[CachedBlock], tuple[int, ...]]

EVICTION: Registry[Rank] = Registry("eviction policy", "windowtax.cache.eviction")
