"""Forks: where a prompt leaves what is kept inside a block, that block is copied as far as both agree, and written on.

Copying a block's planes takes microseconds; computing its tokens again takes a row of attention over the whole context
for each. So n answers to one prompt, or a prompt that comes again, compute one token each (docs/decisions/0010).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from windowtax.spec.cache import CacheLayout


@dataclass(frozen=True, slots=True)
class Begun:
    """A block that can be copied. tokens: what is in it; blocks: per group its pool block, None where there is none; of
    states those behind its tokens.

    num_computed: of the sequence that is writing it, where its workspace is in `blocks` too; None for a kept block.
    """

    tokens: Sequence[int]
    blocks: Sequence[int | None]
    num_computed: int | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """What is copied: per group, from which pool block. num_tokens: of it that are right. with_tails: the workspace
    too."""

    num_tokens: int
    sources: dict[int, int]
    with_tails: bool


def best_fork(candidates: Iterable[Begun], wanted: Sequence[int], depth: int, layout: CacheLayout) -> Fork | None:
    """The candidate for block `depth` that saves the most of the wanted tokens; None where none saves any."""
    best: Fork | None = None
    for begun in candidates:
        fork = _fork(begun, wanted, depth, layout)
        if fork is not None and (best is None or fork.num_tokens > best.num_tokens):
            best = fork
    return best


def _fork(begun: Begun, wanted: Sequence[int], depth: int, layout: CacheLayout) -> Fork | None:
    begin = depth * layout.block_size
    count = num_alike(begun.tokens, wanted)
    states = [group for group, one in enumerate(layout.groups) if one.cache.is_state and not one.cache.workspace]
    tails = [group for group, one in enumerate(layout.groups) if one.cache.is_state and one.cache.workspace]
    if tails and not _has_tail(begun, begin + count, span := longest_span(layout)):
        count -= count % span
        tails = []
    # A state holds all of the tokens, and none can be taken out of it.
    if not count or (states and count < len(begun.tokens)):
        return None
    needed = states + tails
    for group, one in enumerate(layout.groups):
        first, end = layout.held_range(group, begin + count, 0)
        if not one.cache.is_state and first <= depth < end:
            needed.append(group)
    sources = {group: block for group in needed if (block := begun.blocks[group]) is not None}
    return Fork(count, sources, bool(tails)) if len(sources) == len(needed) else None


def _has_tail(begun: Begun, position: int, span: int) -> bool:
    """Whether the tail of the sequence that writes the block holds all of this position's span that lies before it."""
    return begun.num_computed is not None and (begun.num_computed - 1) // span == position // span


def longest_span(layout: CacheLayout) -> int:
    """Tokens that share one scale; 1 where each has its own."""
    return max(plane.span for group in layout.groups for plane in group.cache.planes)


def num_alike(some: Sequence[object], others: Sequence[object]) -> int:
    """How many of their first ones are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))
