"""A survey of every kept prefix on every tier: device, host RAM and disk, merged into one tree of runs.

It is made in whatever thread asks, from copies that cost the engine nothing, and in small pieces with pauses between:
a disk index of a million blocks takes seconds, during which steps go on. A run is a row of blocks that is left nowhere
in between, as in `windowtax cache ls`; its name is that of its first block.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from windowtax.cache.shared import SharedCache
from windowtax.cache.tiers import DEVICE, DISK, HOST
from windowtax.engine.engine import Engine
from windowtax.engine.lower import LowerTiers
from windowtax.engine.tiering import TieredCache
from windowtax.store.disk.record import ROOT

Json = dict[str, Any]
TIERS = (DEVICE, HOST, DISK)
_PIECE = 1000
_PAUSE_S = 0.0005
_MOST_SHARE = 0.05
"""The most of one core's time that surveys take, however often somebody asks."""
_WORDS_BLOCKS = 3
_MOST_HEADS = 1000
"""First blocks that one page reads from the disk, to see whose they are."""


@dataclass(slots=True)
class Run:
    """Blocks in a row. before: the run that it continues; root: the first of its prefix; both as places in the survey.

    keys: names of its first blocks. tiers: how many of its blocks lie on each of TIERS. after: what continues it.
    """

    before: int | None
    root: int
    first_block: int
    keys: list[bytes]
    tiers: list[int]
    num_blocks: int = 0
    num_tokens: int = 0
    after: list[int] = field(default_factory=list[int])


@dataclass
class Survey:
    """runs: parents first. order: their places as a tree, what was used last first. took_s: to make it."""

    cache: SharedCache
    runs: list[Run]
    order: list[int]
    made_s: float
    took_s: float
    _firsts: dict[bytes, Sequence[int] | None] = field(default_factory=dict[bytes, Sequence[int] | None])
    _heads: int = 0

    def page(
        self, salt: str, after: int, limit: int, words: Callable[[Sequence[int]], str]
    ) -> tuple[list[Json], int | None]:
        """Up to `limit` runs of one tenant from a place in `order` on, and where the next page begins; None at the end.

        A page may be short where many of others' prefixes lie between.
        """
        self._heads = 0
        found: list[Json] = []
        for place in range(after, len(self.order)):
            if len(found) >= limit or self._heads > _MOST_HEADS:
                return found, place
            run = self.runs[self.order[place]]
            if self._is_of(self.runs[run.root], salt):
                found.append(self._record(run, words))
        return found, None

    def _is_of(self, root: Run, salt: str) -> bool:
        """Whether a tenant's salt and the tokens of a first block make its name."""
        tokens = self._tokens(root.keys[0])
        return tokens is not None and self.cache.first_key(tokens, salt) == root.keys[0]

    def _tokens(self, key: bytes) -> Sequence[int] | None:
        if key not in self._firsts:
            self._firsts[key] = self._read_tokens(key)
        return self._firsts[key]

    def _read_tokens(self, key: bytes) -> Sequence[int] | None:
        block = self.cache.index.get(key)
        if block is not None and block.content:
            return block.content
        lower = _lower(self.cache)
        self._heads += 1
        return None if lower is None else lower.token_ids(key)

    def _record(self, run: Run, words: Callable[[Sequence[int]], str]) -> Json:
        size = self.cache.layout.block_size
        block, lower = self.cache.index.get(run.keys[0]), _lower(self.cache)
        entry = None if lower is None or lower.disk is None else lower.disk.find(run.keys[0])
        begins = [token for key in run.keys for token in self._tokens(key) or ()]
        return {
            "prefix": run.keys[0].hex(),
            "continues": None if run.before is None else self.runs[run.before].keys[0].hex(),
            "first_token": run.first_block * size,
            "tokens": run.num_tokens,
            "blocks": run.num_blocks,
            "tiers": dict(zip(TIERS, run.tiers, strict=True)),
            "users": 0 if block is None else block.references,
            "hits": max(0 if block is None else block.uses - 1, 0 if entry is None else entry.hits),
            "last_used_s": None if entry is None else entry.last_used_s,
            "words": words(begins),
        }


class Surveyor:
    """Makes surveys, one at a time, and gives an old one again where a new one would cost too much."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Survey | None = None

    def survey(self, cache: SharedCache) -> Survey:
        """A survey. Slow: not for the engine's thread."""
        with self._lock:
            last = self._last
            if last is None or time.time() - last.made_s > last.took_s / _MOST_SHARE:
                last = self._last = survey(cache)
            return last


def survey(cache: SharedCache, pause: Callable[[float], None] = time.sleep) -> Survey:
    """Everything that is kept. In any thread but the engine's; what changes meanwhile may be told as it was or is."""
    began = time.perf_counter()
    masks: dict[bytes, int] = {}
    parents: dict[bytes, bytes] = {}
    levels: list[list[bytes]] = []
    children: dict[bytes, int] = {}
    begun: dict[bytes, int] = {}
    size = cache.layout.block_size
    for count, (tier, key, parent, depth, num_tokens) in enumerate(_blocks(cache)):
        mask = masks.get(key, 0)
        masks[key] = mask | 1 << tier
        if not mask:
            parents[key] = parent
            children[parent] = children.get(parent, 0) + 1
            while len(levels) <= depth:
                levels.append([])
            levels[depth].append(key)
            if num_tokens != size:
                begun[key] = num_tokens
        if not count % _PIECE:
            pause(_PAUSE_S)
    runs = _runs(levels, parents, children, masks, begun, size, pause)
    return Survey(cache, runs, _ordered(cache, runs), time.time(), time.perf_counter() - began)


def tier_sums(cache: SharedCache) -> Json:
    """Blocks on each tier, and bytes on those below the device; everybody's."""
    lower = _lower(cache)
    return {DEVICE: {"blocks": len(cache.index)}, **({} if lower is None else lower.sums())}


def tiers_of(cache: SharedCache, key: bytes) -> list[str]:
    """Where a block that lies on the device lies besides: all tiers that have it, the fastest first."""
    lower = _lower(cache)
    return [DEVICE, *([] if lower is None else lower.tiers_of(key))]


def cache_of(engine: Engine) -> SharedCache | None:
    """The cache of an engine that keeps prefixes."""
    return engine.cache if isinstance(engine.cache, SharedCache) else None


def _lower(cache: SharedCache) -> LowerTiers | None:
    return cache.lower if isinstance(cache, TieredCache) else None


def _blocks(cache: SharedCache) -> Iterator[tuple[int, bytes, bytes, int, int]]:
    """(tier, name, name of the block before it, depth, tokens) of every block on every tier, from copies."""
    for block in list(cache.index.blocks()):
        parent = ROOT if block.parent is None else cast(bytes, block.parent.key)
        yield 0, cast(bytes, block.key), parent, block.depth, len(block.content)
    lower = _lower(cache)
    if lower is None:
        return
    records, entries = lower.snapshot()
    for record in records:
        yield 1, record.key, record.parent if record.depth else ROOT, record.depth, len(record.token_ids)
    for entry in entries:
        yield 2, entry.key, entry.parent if entry.depth else ROOT, entry.depth, entry.num_tokens


def _runs(
    levels: Sequence[Sequence[bytes]],
    parents: dict[bytes, bytes],
    children: dict[bytes, int],
    masks: dict[bytes, int],
    begun: dict[bytes, int],
    size: int,
    pause: Callable[[float], None],
) -> list[Run]:
    """Rows of blocks, level by level. What has lost a block before it can be reached by nobody, and is left out."""
    runs: list[Run] = []
    place_of: dict[bytes, int] = {}
    tiers = range(len(TIERS))
    for depth, keys in enumerate(levels):
        for count, key in enumerate(keys):
            if not count % _PIECE:
                pause(_PAUSE_S)
            parent = parents[key]
            before = place_of.pop(parent, None) if depth and children[parent] == 1 else place_of.get(parent)
            if depth and before is None:
                continue
            if before is None or children[parent] > 1:
                place = len(runs)
                runs.append(Run(before, place if before is None else runs[before].root, depth, [], [0] * len(tiers)))
                if before is not None:
                    runs[before].after.append(place)
            else:
                place = before
            run = runs[place]
            if len(run.keys) < _WORDS_BLOCKS:
                run.keys.append(key)
            run.num_blocks += 1
            run.num_tokens += begun.get(key, size)
            place_of[key] = place
            for tier in tiers:
                run.tiers[tier] += masks[key] >> tier & 1
    return runs


def _ordered(cache: SharedCache, runs: Sequence[Run]) -> list[int]:
    """The runs as a tree. Prefixes on the device come first, the one used last before all; then those of the disk."""
    lower = _lower(cache)

    def used(place: int) -> tuple[float, float]:
        key = runs[place].keys[0]
        block, entry = cache.index.get(key), None if lower is None or lower.disk is None else lower.disk.find(key)
        return (0 if block is None else block.last_used), (0.0 if entry is None else entry.last_used_s)

    ahead = sorted((place for place, run in enumerate(runs) if run.before is None), key=used)
    order: list[int] = []
    while ahead:
        place = ahead.pop()
        order.append(place)
        ahead += sorted(runs[place].after, key=used)
    return order
