"""Why a prefix was not in the cache: the first token that differs from what is kept, or where the kept blocks went."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import cast

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.shared import SharedCache

_RUN_TOKENS = 16
"""Shorter stretches that two texts share are chance: a template's marks, a turn of phrase."""


class MissReason(StrEnum):
    """What kept a prompt from being read from the cache as far as it could be."""

    NONE = "everything that could be reused was"
    EMPTY = "nothing is kept that begins like this"
    DIVERGES = "a token differs from what is kept"
    BELOW = "it lies in a lower tier, from where it was not loaded: computing is faster, or the pool had no room"
    EVICTED = "it was kept, and evicted for want of room"
    NEW = "what follows was never computed before"
    WINDOW = "what a sliding window still reads was given back"
    STATE = "its rows are kept, but of the states behind them no checkpoint is"
    UNEVEN = "layers whose blocks differ in length share no prefixes"


@dataclass(frozen=True, slots=True)
class Miss:
    """num_cached_tokens: reused. position: of the first token that was not, or that differs. kept_token, token: at that
    position, what is kept and what the prompt has; None where nothing kept goes on there.

    num_gone_tokens: that were kept once and can be read no more. kept_after: where a token differs, what is kept from
    `position` on, in blocks; of several prompts the one that was used last.
    """

    reason: MissReason
    num_cached_tokens: int
    position: int
    kept_token: int | None = None
    token: int | None = None
    num_gone_tokens: int = 0
    kept_after: tuple[tuple[int, ...], ...] = ()

    def lost_tokens(self, token_ids: Sequence[int]) -> int:
        """How many of a prompt's tokens would have been read, were it not for this. Slow for long prompts.

        What was evicted, given back, or not loaded counts whole. Behind a difference those count that the kept prompt
        has too: a date that changed loses all that follows it, another question loses nothing.
        """
        if self.reason is not MissReason.DIVERGES:
            return self.num_gone_tokens
        kept = [token for block in self.kept_after for token in block]
        return tokens_in_common(token_ids[self.position : len(token_ids) - 1], kept)


def explain_miss(cache: SharedCache, token_ids: Sequence[int], salt: str, num_cached_tokens: int = 0) -> Miss:
    """Compares a prompt with what is kept, before its own blocks are. num_cached_tokens: that it was given all the
    same, as a sequence that went further had left its states there."""
    size = cache.layout.block_size
    reusable = (len(token_ids) - 1) // size
    if not cache.can_share:
        return Miss(MissReason.UNEVEN, 0, 0)
    keys = cache.keys_of(token_ids, salt)[:reusable]
    matched, usable = cache.index.match(keys), cache.usable(keys)
    if max(usable * size, num_cached_tokens) < matched * size:
        reason = MissReason.STATE if cache.usable(keys, states=False) > usable else MissReason.WINDOW
        return Miss(reason, usable * size, usable * size, num_gone_tokens=(matched - usable) * size)
    if matched == reusable:
        return Miss(MissReason.NONE, matched * size, matched * size)
    position = matched * size
    for reason, applies in ((MissReason.BELOW, cache.lies_below), (MissReason.EVICTED, cache.evicted.__contains__)):
        gone = sum(1 for _ in takewhile(applies, keys[matched:]))
        if gone:
            return Miss(reason, position, position, num_gone_tokens=gone * size)
    wanted = tuple(token_ids[position : position + size])
    followers = cache.followers(keys[matched - 1] if matched else None, salt)
    nearest = max(followers, key=lambda kept: (_common(kept.content, wanted), kept.last_used), default=None)
    if nearest is None:
        return Miss(MissReason.NEW if matched else MissReason.EMPTY, position, position)
    same = _common(nearest.content, wanted)
    return Miss(
        MissReason.DIVERGES,
        position,
        position + same,
        nearest.content[same],
        wanted[same],
        kept_after=(nearest.content[same:], *_continued(cache, nearest, salt)),
    )


def tokens_in_common(token_ids: Sequence[int], others: Sequence[int]) -> int:
    """How many of the first text's tokens lie in stretches that the second has too, in the same order.

    Stretches of fewer than `_RUN_TOKENS` tokens are chance.
    """
    mine, theirs = array("q", token_ids), array("q", others)
    places: dict[bytes, list[int]] = {}
    for place, run in enumerate(_runs(theirs)):
        places.setdefault(run, []).append(place)
    runs = _runs(mine)
    found, here, there = 0, 0, 0
    while here < len(runs):
        candidates = places.get(runs[here], [])
        chosen = bisect_left(candidates, there)
        if chosen == len(candidates):
            here += 1
            continue
        length, there = 0, candidates[chosen]
        while (
            here + length < len(mine) and there + length < len(theirs) and mine[here + length] == theirs[there + length]
        ):
            length += 1
        found, here, there = found + length, here + length, there + length
    return found


def _runs(ids: "array[int]") -> list[bytes]:
    """The bytes of every stretch of `_RUN_TOKENS` tokens."""
    data, step = ids.tobytes(), ids.itemsize
    return [data[place * step : (place + _RUN_TOKENS) * step] for place in range(len(ids) - _RUN_TOKENS + 1)]


def _continued(cache: SharedCache, block: CachedBlock, salt: str) -> Iterator[tuple[int, ...]]:
    """What continues a block: of several continuations the one that was used last."""
    while after := cache.followers(cast(bytes, block.key), salt):
        block = max(after, key=lambda one: one.last_used)
        yield block.content


def _common(kept: Sequence[int], wanted: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(kept, wanted, strict=False)))
