"""Why a prefix was not in the cache: the first token that differs from what is kept, or that it was evicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from windowtax.cache.shared import SharedCache


class MissReason(StrEnum):
    """What kept a prompt from being read from the cache as far as it could be."""

    NONE = "everything that could be reused was"
    EMPTY = "nothing is kept that begins like this"
    DIVERGES = "a token differs from what is kept"
    EVICTED = "it was kept, and evicted for want of room"
    NEW = "what follows was never computed before"
    WINDOW = "what a sliding window still reads was given back"
    STATE = "a layer folds its tokens into a state, of which no checkpoint is kept"


@dataclass(frozen=True, slots=True)
class Miss:
    """num_cached_tokens: reused. position: of the first token that was not, or that differs. kept_token, token: at that
    position, what is kept and what the prompt has; None where nothing kept goes on there."""

    reason: MissReason
    num_cached_tokens: int
    position: int
    kept_token: int | None = None
    token: int | None = None


def explain_miss(cache: SharedCache, token_ids: Sequence[int], salt: str) -> Miss:
    """Compares a prompt with what is kept, before it is attached."""
    size = cache.layout.block_size
    reusable = (len(token_ids) - 1) // size
    if not cache.can_share:
        return Miss(MissReason.STATE, 0, 0)
    keys = cache.keys_of(token_ids, salt)[:reusable]
    matched, usable = cache.index.match(keys), cache.usable(keys)
    if usable < matched:
        return Miss(MissReason.WINDOW, usable * size, usable * size)
    if matched == reusable:
        return Miss(MissReason.NONE, matched * size, matched * size)
    position = matched * size
    if keys[matched] in cache.evicted:
        return Miss(MissReason.EVICTED, position, position)
    wanted = tuple(token_ids[position : position + size])
    followers = cache.followers(keys[matched - 1] if matched else None, salt)
    nearest = max((block.content for block in followers), key=lambda kept: _common(kept, wanted), default=None)
    if nearest is None:
        return Miss(MissReason.NEW if matched else MissReason.EMPTY, position, position)
    same = _common(nearest, wanted)
    return Miss(MissReason.DIVERGES, position, position + same, nearest[same], wanted[same])


def _common(kept: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(kept, wanted, strict=True)))
