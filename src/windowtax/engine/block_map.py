"""The block map: which pool block belongs to whom, which prefixes are kept, and who shares them.

The engine's thread only copies what may change (`seen`), which takes a fraction of a microsecond per block; whoever
asked draws the map from that. Of other tenants it tells nothing but how many bytes all of them hold together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from windowtax.cache.eviction.base import CachedBlock
from windowtax.cache.keeping import Place
from windowtax.cache.manager import CacheManager
from windowtax.cache.shared import SharedCache
from windowtax.engine.engine import Engine
from windowtax.engine.tiering import TieredCache
from windowtax.spec.cache import CacheLayout

Json = dict[str, Any]
Owners = dict[int, int]
"""Pool block -> its owner: segment i as i, the blocks that only sequence j has as -1 - j. Free blocks are not in it."""
Words = Callable[[Sequence[int]], str]
TierOf = Callable[[bytes], str | None]
_WORDS_TOKENS = 48


class Kept(NamedTuple):
    """A kept block as it was when it was looked at. place: its pool block per group."""

    block: CachedBlock
    references: int
    uses: int
    last_used: int
    place: tuple[int | None, ...]


class Holder(NamedTuple):
    """A sequence that holds blocks. tables: per group, its pool blocks."""

    name: str
    num_tokens: int
    num_bytes: int
    tables: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Seen:
    """What the engine's thread copied: kept blocks, each behind the one that it continues, and who holds blocks.

    is_mine: whether a first block is the asking tenant's. mine, others: sequences.
    """

    layout: CacheLayout
    pools: list[tuple[int, int]]
    kept: list[Kept]
    is_mine: Callable[[CachedBlock], bool]
    mine: list[Holder]
    others: list[Holder]
    num_evicted: int


@dataclass(eq=False)
class Segment:
    """Neighbouring blocks of the prefix tree with one history: no branch between them, equally used and referenced.

    index, parent: places in the list of segments. root: the first block of its prefix.
    """

    index: int
    parent: int | None
    root: CachedBlock
    blocks: list[Kept] = field(default_factory=list[Kept])


def seen_of(engine: Engine, salt: str) -> Seen:
    """What a tenant's map is drawn from. Only in the engine's thread."""
    running = engine.scheduler.running
    mine = {one.sequence_id: one.num_computed_tokens for one in running if one.salt == salt}
    others = {one.sequence_id: one.num_computed_tokens for one in running if one.salt != salt}
    return seen(engine.cache, mine, salt, others)


def seen(cache: CacheManager, mine: Mapping[str, int], salt: str, others: Mapping[str, int] | None = None) -> Seen:
    """Copies what may change. Call it where nobody changes the cache meanwhile.

    mine, others: the tokens computed of the sequences that hold blocks, of the asking tenant and of all others.
    """
    shared = cache if isinstance(cache, SharedCache) else None
    return Seen(
        layout=cache.layout,
        pools=[(pool.num_blocks, pool.num_free) for pool in cache.pools],
        kept=[
            Kept(one, one.references, one.uses, one.last_used, tuple(cast(Place, one.place)))
            for one in (shared.index.blocks() if shared else ())
        ],
        is_mine=lambda root: shared is not None and shared.first_key(root.content, salt) == root.key,
        mine=[_holder(cache, name, tokens) for name, tokens in mine.items()],
        others=[_holder(cache, name, tokens) for name, tokens in (others or {}).items()],
        num_evicted=shared.num_evicted if shared else 0,
    )


def map_of(engine: Engine, found: Seen) -> Json:
    """The map of an engine, with texts and tiers. In any thread."""
    tokenizer = engine.model.tokenizer

    def words(token_ids: Sequence[int]) -> str:
        return "" if tokenizer is None else tokenizer.decode(token_ids)

    return block_map(found, words, tier_finder(engine.cache))


def tier_finder(cache: CacheManager) -> TierOf:
    """Tells which lower tier has a block too, if any: the faster one."""
    lower = cache.lower if isinstance(cache, TieredCache) else None

    def tier_of(key: bytes) -> str | None:
        found = None if lower is None else lower.find(key)
        return None if found is None else found.tier

    return tier_of


def block_map(found: Seen, words: Words, tier_of: TierOf = lambda key: None) -> Json:
    """The map as JSON. words: of tokens, as text. tier_of: the lower tier that has a block too.

    Segments and sequences are those of the asking tenant; behind them stands, as one segment each, what others use and
    what is kept for them.
    """
    segments = _segments(found.kept)
    roots = {id(one.root): found.is_mine(one.root) for one in segments if one.parent is None}
    mine = [one for one in segments if roots[id(one.root)]]
    places = {one.index: place for place, one in enumerate(mine)}
    foreign = _Foreign(len(mine), found.layout)
    groups = range(len(found.pools))
    owners = [_owners(group, segments, places, foreign, found) for group in groups]
    told = [_segment_json(one, places, found.layout, words, tier_of) for one in mine]
    return {
        "block_size": found.layout.block_size,
        "groups": [_group_json(group, found, owners[group]) for group in groups],
        "segments": [*told, *foreign.json()],
        "sequences": [_sequence_json(one, owners, len(mine)) for one in found.mine],
        "num_evicted": found.num_evicted,
    }


class _Foreign:
    """What all other tenants hold: used, and kept unused. Each is one segment behind the `first` of the asking one."""

    def __init__(self, first: int, layout: CacheLayout) -> None:
        self._first = first
        self._layout = layout
        self._bytes: dict[bool, int] = {}

    def owner(self, group: int, used: bool) -> int:
        """Books a block; returns the segment that it belongs to."""
        if used not in self._bytes:
            self._bytes[used] = 0
        self._bytes[used] += self._layout.block_bytes(group)
        return self._first + list(self._bytes).index(used)

    def json(self) -> list[Json]:
        """As segments without words, tokens and history."""
        nothing = {"parent": None, "first_token": 0, "num_tokens": 0, "hits": 0, "last_used": 0, "tiers": {}}
        return [nothing | {"bytes": size, "users": int(used), "words": None} for used, size in self._bytes.items()]


def _holder(cache: CacheManager, name: str, num_tokens: int) -> Holder:
    tables = tuple(tuple(table.blocks) for table in cache.tables(name))
    return Holder(name, num_tokens, cache.held_bytes_of(name), tables)


def _segments(kept: Iterable[Kept]) -> list[Segment]:
    """Parents come before what continues them."""
    followers: dict[int, list[Kept]] = {}
    for one in kept:
        followers.setdefault(id(one.block.parent), []).append(one)
    found: list[Segment] = []
    roots = reversed(followers.get(id(None), []))
    open_ends: list[tuple[Kept, int | None, CachedBlock]] = [(root, None, root.block) for root in roots]
    while open_ends:
        one, parent, root = open_ends.pop()
        segment = Segment(len(found), parent, root)
        found.append(segment)
        while True:
            segment.blocks.append(one)
            after = followers.get(id(one.block), [])
            if len(after) != 1 or (after[0].references, after[0].uses) != (one.references, one.uses):
                break
            one = after[0]
        open_ends += [(each, segment.index, root) for each in reversed(after)]
    return found


def _owners(
    group: int, segments: Iterable[Segment], places: Mapping[int, int], foreign: _Foreign, found: Seen
) -> Owners:
    owners: Owners = {}
    for segment in segments:
        place = places.get(segment.index)
        for one in segment.blocks:
            block = one.place[group]
            if block is not None:
                owners[block] = foreign.owner(group, one.references > 0) if place is None else place
    for number, holder in enumerate(found.mine):
        for block in holder.tables[group]:
            owners.setdefault(block, -1 - number)
    for holder in found.others:
        for block in holder.tables[group]:
            if block not in owners:
                owners[block] = foreign.owner(group, True)
    return owners


def _runs(owners: Owners) -> list[list[int]]:
    """[first block, number of blocks, owner], in the pool's order."""
    runs: list[list[int]] = []
    for block in sorted(owners):
        if runs and runs[-1][2] == owners[block] and sum(runs[-1][:2]) == block:
            runs[-1][1] += 1
        else:
            runs.append([block, 1, owners[block]])
    return runs


def _group_json(group: int, found: Seen, owners: Owners) -> Json:
    (num_blocks, num_free), part = found.pools[group], found.layout.groups[group]
    return {
        "num_layers": len(part.layers),
        "keeps_tokens": not part.cache.is_state,
        "window_tokens": part.cache.window,
        "block_bytes": found.layout.block_bytes(group),
        "num_blocks": num_blocks,
        "num_free": num_free,
        "runs": _runs(owners),
    }


def _segment_json(
    segment: Segment, places: Mapping[int, int], layout: CacheLayout, words: Words, tier_of: TierOf
) -> Json:
    first, size = segment.blocks[0], layout.block_size
    tokens = [token for one in segment.blocks[: -(-_WORDS_TOKENS // size)] for token in one.block.content]
    held = [group for one in segment.blocks for group, place in enumerate(one.place) if place is not None]
    tiers: dict[str, int] = {}
    for one in segment.blocks:
        tier = tier_of(cast(bytes, one.block.key))
        if tier is not None:
            tiers[tier] = tiers.get(tier, 0) + 1
    return {
        "parent": None if segment.parent is None else places[segment.parent],
        "first_token": first.block.depth * size,
        "num_tokens": sum(len(one.block.content) for one in segment.blocks),
        "bytes": sum(map(layout.block_bytes, held)),
        "users": first.references,
        "hits": first.uses - 1,
        "last_used": first.last_used,
        "tiers": tiers,
        "words": words(tokens[:_WORDS_TOKENS]),
    }


def _sequence_json(holder: Holder, owners: Sequence[Owners], num_segments: int) -> Json:
    shared = {owners[group][block] for group, table in enumerate(holder.tables) for block in table}
    return {
        "id": holder.name,
        "num_tokens": holder.num_tokens,
        "bytes": holder.num_bytes,
        "segments": sorted(owner for owner in shared if 0 <= owner < num_segments),
    }
