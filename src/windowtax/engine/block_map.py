"""The block map: which pool block belongs to whom, which prefixes are kept, and who shares them. A pure reading of the
cache's books, small enough to be asked for every second."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.manager import CacheManager
from windowtax.cache.shared import Place, SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.tiering import TieredCache

Json = dict[str, Any]
Owners = dict[int, int]
"""Pool block -> its owner: segment i as i, the blocks that only sequence j has as -1 - j. Free blocks are not in it."""
_WORDS_TOKENS = 48


@dataclass(eq=False)
class Segment:
    """Neighbouring blocks of the prefix tree with one history: no branch between them, equally used and referenced.

    index, parent: places in the list of segments. tiers: how many of its blocks lie in each tier below the device too.
    """

    index: int
    parent: int | None
    blocks: list[CachedBlock] = field(default_factory=list[CachedBlock])
    tiers: dict[str, int] = field(default_factory=dict[str, int])


def map_of(engine: Engine, salt: str) -> Json:
    """The map of an engine, asked for by a tenant. Only in the engine's thread."""
    running = {one.sequence_id: one.num_computed_tokens for one in engine.scheduler.running}
    tokenizer = engine.model.tokenizer
    lower = engine.cache.lower if isinstance(engine.cache, TieredCache) else None

    def words(token_ids: Sequence[int]) -> str:
        return "" if tokenizer is None else tokenizer.decode(token_ids)

    def tier_of(key: bytes) -> str | None:
        found = None if lower is None else lower.find(key)
        return None if found is None else found.tier

    return block_map(engine.cache, running, words, salt, tier_of)


def block_map(
    cache: CacheManager,
    sequences: Mapping[str, int],
    words: Callable[[Sequence[int]], str],
    salt: str,
    tier_of: Callable[[bytes], str | None] = lambda key: None,
) -> Json:
    """The map as JSON. Call it where nobody changes the cache meanwhile.

    sequences: the tokens computed of those that hold blocks. words: of tokens, as text. salt: of who asks; the words
    of other tenants' prefixes are not told, and their keys never are. tier_of: the lower tier that has a block too.
    """
    segments = _segments(cache, tier_of) if isinstance(cache, SharedCache) else []
    mine = {root.key for root in cache.followers(None, salt)} if isinstance(cache, SharedCache) else set()
    groups = range(len(cache.pools))
    owners = [_owners(group, cache, segments, list(sequences)) for group in groups]
    return {
        "block_size": cache.layout.block_size,
        "groups": [_group_json(group, cache, owners[group]) for group in groups],
        "segments": [_segment_json(segment, segments, cache, words, mine) for segment in segments],
        "sequences": [_sequence_json(name, tokens, cache, owners) for name, tokens in sequences.items()],
        "num_evicted": cache.num_evicted if isinstance(cache, SharedCache) else 0,
    }


def _segments(cache: SharedCache, tier_of: Callable[[bytes], str | None]) -> list[Segment]:
    """Parents come before what continues them."""
    followers: dict[int, list[CachedBlock]] = {}
    for block in cache.index.blocks():
        followers.setdefault(id(block.parent), []).append(block)
    found: list[Segment] = []
    open_ends: list[tuple[CachedBlock, int | None]] = [(root, None) for root in reversed(followers.get(id(None), []))]
    while open_ends:
        block, parent = open_ends.pop()
        segment = Segment(len(found), parent)
        found.append(segment)
        while True:
            segment.blocks.append(block)
            tier = tier_of(cast(bytes, block.key))
            if tier is not None:
                segment.tiers[tier] = segment.tiers.get(tier, 0) + 1
            after = followers.get(id(block), [])
            if len(after) != 1 or (after[0].references, after[0].uses) != (block.references, block.uses):
                break
            block = after[0]
        open_ends += [(one, segment.index) for one in reversed(after)]
    return found


def _owners(group: int, cache: CacheManager, segments: Iterable[Segment], names: Sequence[str]) -> Owners:
    owners: Owners = {}
    for segment in segments:
        for block in segment.blocks:
            place = _place(block)[group]
            if place is not None:
                owners[place] = segment.index
    for number, name in enumerate(names):
        for block in cache.tables(name)[group].blocks:
            owners.setdefault(block, -1 - number)
    return owners


def _place(block: CachedBlock) -> Place:
    return cast(Place, block.place)


def _runs(owners: Owners) -> list[list[int]]:
    """[first block, number of blocks, owner], in the pool's order."""
    runs: list[list[int]] = []
    for block in sorted(owners):
        if runs and runs[-1][2] == owners[block] and sum(runs[-1][:2]) == block:
            runs[-1][1] += 1
        else:
            runs.append([block, 1, owners[block]])
    return runs


def _group_json(group: int, cache: CacheManager, owners: Owners) -> Json:
    pool, part = cache.pools[group], cache.layout.groups[group]
    return {
        "num_layers": len(part.layers),
        "keeps_tokens": not part.cache.is_state,
        "window_tokens": part.cache.window,
        "block_bytes": cache.layout.block_bytes(group),
        "num_blocks": pool.num_blocks,
        "num_free": pool.num_free,
        "runs": _runs(owners),
    }


def _segment_json(
    segment: Segment,
    segments: Sequence[Segment],
    cache: CacheManager,
    words: Callable[[Sequence[int]], str],
    mine: Container[object],
) -> Json:
    first, size = segment.blocks[0], cache.layout.block_size
    root = segment
    while root.parent is not None:
        root = segments[root.parent]
    tokens = [token for block in segment.blocks[: -(-_WORDS_TOKENS // size)] for token in block.content]
    bytes_held = [
        cache.layout.block_bytes(group)
        for block in segment.blocks
        for group, place in enumerate(_place(block))
        if place is not None
    ]
    return {
        "parent": segment.parent,
        "first_token": first.depth * size,
        "num_tokens": len(segment.blocks) * size,
        "bytes": sum(bytes_held),
        "users": first.references,
        "hits": first.uses - 1,
        "last_used": first.last_used,
        "tiers": segment.tiers,
        "words": words(tokens[:_WORDS_TOKENS]) if root.blocks[0].key in mine else None,
    }


def _sequence_json(name: str, tokens: int, cache: CacheManager, owners: Sequence[Owners]) -> Json:
    tables = cache.tables(name)
    shared = {owners[group][block] for group, table in enumerate(tables) for block in table.blocks}
    return {
        "id": name,
        "num_tokens": tokens,
        "bytes": cache.held_bytes_of(name),
        "segments": sorted(owner for owner in shared if owner >= 0),
    }
