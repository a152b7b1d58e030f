"""A prefix cache with tiers below the device: what it computes goes down at once, and comes up when it is asked for.

How an engine uses it (everything else is as with SharedCache):

1. It makes a `TieredCache` in place of a `SharedCache`, and calls `bind(runner.store)` once the pool is allocated.
2. Before a waiting sequence is admitted (its `attach` follows in the same step), the scheduler asks
   `ready(sequence_id, token_ids, salt)`. False: its prefix is on the way; others may go ahead, it is asked again.
3. Where a step came out empty because all that wait are on the way, the engine calls `wait(timeout_s)`.
4. It books prefills with `book_prefill(num_tokens, seconds)`: loading is weighed against that, and so is moving what
   was preempted, where `space` goes by the same speeds.
5. At the end: `close()`, which writes what waits.

`completed` hands new blocks down before `trim` can give them back, so no other hook is needed. After `attach`,
`cached_by_tier(sequence_id)` says where the cached tokens came from, until `free`.

A load is a sequence of its own in the books: it holds the blocks that it fills, so nothing else can be given them, and
what it filled is filed in the index as if it had been computed. A sequence that is cancelled while its load runs
leaves the load behind; it ends by itself.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from windowtax.cache.offload import OffloadSpace
from windowtax.cache.shared import SharedCache
from windowtax.cache.tiers import DEVICE, DISK, HOST, Offer
from windowtax.engine.lower import Location, LowerTiers
from windowtax.spec.cache import CacheLayout
from windowtax.store.disk.record import ROOT, Record

if TYPE_CHECKING:
    from windowtax.store.planes import PlaneStore


@dataclass(slots=True)
class Load:
    """Blocks `start` to the end of `keys`, on their way to the device.

    tiers: where each lay when the load began. fills: by depth, the tier that a block was read from, None where it could
    not be; depths of which the layers read nothing any more (windows) are not in it.
    """

    load_id: str
    token_ids: Sequence[int]
    keys: Sequence[bytes]
    start: int
    tiers: Sequence[str]
    fills: dict[int, "Future[str | None]"] = field(default_factory=dict[int, "Future[str | None]"])

    @property
    def done(self) -> bool:
        """Whether nobody writes into its blocks any more."""
        return all(fill.done() for fill in self.fills.values())

    def arrived(self) -> list[str]:
        """The tiers of the blocks that came, up to the first that did not."""
        arrived: list[str] = []
        for depth, tier in enumerate(self.tiers, self.start):
            fill = self.fills.get(depth)
            came = tier if fill is None else None if fill.cancelled() or fill.exception() else fill.result()
            if came is None:
                break
            arrived.append(came)
        return arrived


@dataclass(slots=True)
class Asked:
    """What became of a sequence's wish for its prefix. load: while it runs. loaded: by depth, the tier it came from."""

    load: Load | None = None
    loaded: dict[int, str] = field(default_factory=dict[int, str])


class TieredCache(SharedCache):
    """A shared cache above host RAM and disk."""

    def __init__(
        self,
        layout: CacheLayout,
        num_blocks: Sequence[int],
        lower: LowerTiers,
        *,
        fingerprint: bytes = b"",
        policy: str = "lru",
        space: OffloadSpace | None = None,
    ) -> None:
        super().__init__(layout, num_blocks, fingerprint=fingerprint, policy=policy, space=space)
        self.lower = lower
        self._store: PlaneStore | None = None
        self._part_bytes: list[int] = []
        self._readers = ThreadPoolExecutor(lower.num_readers, "windowtax-cache-reader")
        self._asked: dict[str, Asked] = {}
        self._loads: list[Load] = []
        self._handed_down: dict[str, int] = {}
        self._by_tier: dict[str, dict[str, int]] = {}
        self._num_loads = 0

    def bind(self, store: "PlaneStore") -> None:
        super().bind(store)
        self._store = store
        self._part_bytes = [sum(len(plane) * plane.shape[2] for plane in group.values()) for group in store.planes]

    def ready(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> bool:
        """Whether a waiting sequence may be admitted: False while its prefix is on the way from a lower tier."""
        self._land()
        asked = self._asked.get(sequence_id)
        if asked is None:
            if self._store is None or not self.can_share:
                return True
            if not super().ready(sequence_id, token_ids, salt):
                return False
            keys = self.reusable_keys(token_ids, salt)
            if any(load.keys[load.start] in keys for load in self._loads):
                return False  # another sequence's load brings some of it
            offer = self._best_offer(keys)
            load = None if offer is None else self._begin(token_ids, salt, keys, offer)
            if load is None and offer is not None:
                return True  # no room in the pool; should the sequence have to wait for that too, it is tried again
            asked = self._asked[sequence_id] = Asked(load)
        return asked.load is None

    def wait(self, timeout_s: float) -> None:
        """Waits until a load has ended, or so long."""
        running = [fill for load in self._loads for fill in load.fills.values() if not fill.done()]
        if running:
            wait(running, timeout_s)
        self._land()

    def cached_by_tier(self, sequence_id: str) -> dict[str, int]:
        """Of the tokens that the last `attach` found: how many were on the device, and how many came from each tier."""
        return self._by_tier.get(sequence_id, {DEVICE: 0, HOST: 0, DISK: 0})

    def lies_below(self, key: bytes) -> bool:
        return self.lower.find(key) is not None

    def attach(self, sequence_id: str, token_ids: Sequence[int], salt: str) -> int:
        found = super().attach(sequence_id, token_ids, salt)
        size = self.layout.block_size
        asked = self._asked.pop(sequence_id, Asked())
        loaded = [tier for depth, tier in asked.loaded.items() if depth < found // size]
        by_tier = {tier: loaded.count(tier) * size for tier in (HOST, DISK)}
        self._by_tier[sequence_id] = {DEVICE: found - sum(by_tier.values()), **by_tier}
        self._handed_down[sequence_id] = 0
        chain = self._chains.get(sequence_id)
        if chain is not None:
            self.lower.touch(chain.keys[: found // size])
        return found

    def completed(self, sequence_id: str, token_ids: Sequence[int], num_computed: int) -> None:
        super().completed(sequence_id, token_ids, num_computed)
        self._hand_down(sequence_id, token_ids)
        self._land()

    def promote(self, sequence_id: str, token_ids: Sequence[int], salt: str, num_new: int) -> int | None:
        moved = super().promote(sequence_id, token_ids, salt, num_new)
        if moved is not None:
            chain = self._chains.get(sequence_id)
            self._handed_down[sequence_id] = 0 if chain is None else chain.num_kept  # all of that was, before
        return moved

    def free(self, sequence_id: str) -> None:
        super().free(sequence_id)
        for kept in (self._asked, self._handed_down, self._by_tier):
            kept.pop(sequence_id, None)

    def book_prefill(self, num_tokens: int, seconds: float) -> None:
        self.lower.speeds.prefill.book(num_tokens, seconds)

    def close(self) -> None:
        """Ends all loads and writes what waits. Raises nothing: a cache that cannot be written is only smaller."""
        self._readers.shutdown(cancel_futures=True)
        self._land()
        self.lower.close()

    # --- down ---------------------------------------------------------------------------------------------------

    def _hand_down(self, sequence_id: str, token_ids: Sequence[int]) -> None:
        """Gives the tiers below every whole block that they do not have, in order, until they have no room just now."""
        chain, depth = self._chains.get(sequence_id), self._handed_down.get(sequence_id)
        if chain is None or depth is None or self._store is None or depth == chain.num_kept or not self.lower.accepts:
            return
        while depth < chain.num_kept:
            if self._is_news(chain.keys[depth]) and not self.lower.put(
                self._record(sequence_id, chain.keys, depth, token_ids)
            ):
                break
            depth += 1
        self._handed_down[sequence_id] = depth

    def _is_news(self, key: bytes) -> bool:
        """Whether the tiers below do not have a block, or not the checkpoint that was made behind it."""
        location, place = self.lower.find(key), self._place(self._kept(key))
        return location is None or any(
            place[group] is not None and not location.mask >> group & 1 for group in self._states
        )

    def _record(self, sequence_id: str, keys: Sequence[bytes], depth: int, token_ids: Sequence[int]) -> Record:
        assert self._store is not None
        size = self.layout.block_size
        parts: list[bytes | None] = []
        place = self._place(self._kept(keys[depth]))
        for group, table in enumerate(self.tables(sequence_id)):
            held = self._rows[group] and table.first <= depth < table.end
            block = table.blocks[depth - table.first] if held else place[group] if group in self._states else None
            parts.append(None if block is None else self._store.block_bytes(group, block))
        fingerprint = b"" if self.lower.disk is None else self.lower.disk.fingerprint
        tokens = token_ids[depth * size : (depth + 1) * size]
        parent = keys[depth - 1] if depth else ROOT
        return Record(keys[depth], parent, fingerprint, depth, tokens, tuple(parts), time.time())

    # --- up -----------------------------------------------------------------------------------------------------

    def _begin(self, token_ids: Sequence[int], salt: str, keys: Sequence[bytes], offer: Offer) -> Load | None:
        """Starts a load; None where the pool has no room for it."""
        size = self.layout.block_size
        self._num_loads += 1
        load_id, end = f"load-{self._num_loads}", len(offer.tiers) + offer.start
        token_ids = token_ids[: end * size + 1]
        # Now it holds what is there, then only what the layers still read behind `end` tokens, then room for the rest.
        if self.attach_whole(load_id, token_ids, salt):
            self.trim(load_id, end * size)
        if not self.reserve(load_id, end * size, 0):
            self.free(load_id)
            return None
        load = Load(load_id, token_ids, keys[:end], offer.start, offer.tiers)
        tables, needed = self.tables(load_id), self._needed(end)
        for depth in range(offer.start, end):
            places = [
                (group, table.blocks[depth - table.first if self._rows[group] else 0])
                for group, table in enumerate(tables)
                if depth in needed[group]
            ]
            if places:
                load.fills[depth] = self._readers.submit(self._fill, keys[depth], places)
        self._loads.append(load)
        return load

    def _fill(self, key: bytes, places: Sequence[tuple[int, int]]) -> str | None:
        """Reads one block into its (group, pool block) places; returns the tier that it came from. A reader runs it."""
        began = time.perf_counter()
        found = self.lower.fetch(key)
        if found is None or self._store is None:
            return None
        tier, record = found
        num_bytes = 0
        for group, block in places:
            part = record.parts[group]
            if part is None or len(part) != self._part_bytes[group]:
                return None
            self._store.put_block_bytes(group, block, part)
            num_bytes += len(part)
        self.lower.book_load(tier, num_bytes, time.perf_counter() - began)
        return tier

    def _land(self) -> None:
        """Files what ended loads have brought, and gives back the rest of their blocks."""
        for load in [load for load in self._loads if load.done]:
            self._loads.remove(load)
            arrived = load.arrived()
            size = self.layout.block_size
            super().completed(load.load_id, load.token_ids, (load.start + len(arrived)) * size)
            # Its states are those behind its last block: as it ends, they become the checkpoint there.
            self._chains[load.load_id].has_states = len(arrived) == len(load.tiers)
            super().free(load.load_id)
            for asked in self._asked.values():
                if asked.load is load:
                    asked.load, asked.loaded = None, dict(enumerate(arrived, load.start))

    def _best_offer(self, keys: Sequence[bytes]) -> Offer | None:
        """What of a chain is best loaded: all that is below, or only what lies in RAM, or nothing."""
        start = self.usable(keys)
        found: list[Location] = []
        for key in keys[start:]:
            location = self.lower.find(key)
            if location is None:
                break
            found.append(location)
        in_host = sum(1 for _ in takewhile(lambda location: location.tier == HOST, found))
        offers = [self._offer(start, found[:count]) for count in {len(found), in_host}]
        return self.lower.choose(offer for offer in offers if offer is not None)

    def _offer(self, start: int, found: Sequence[Location]) -> Offer | None:
        """The longest load of these blocks from `start` on with which a sequence can begin: windows must be whole."""
        for end in range(start + len(found), start, -1):
            bytes_by_tier = self._bytes_by_tier(start, end, found)
            if bytes_by_tier is not None:
                tiers = tuple(location.tier for location in found[: end - start])
                return Offer(start, tiers, (end - start) * self.layout.block_size, bytes_by_tier)
        return None

    def _bytes_by_tier(self, start: int, end: int, found: Sequence[Location]) -> dict[str, int] | None:
        """Bytes that a load up to `end` reads; None where some of them are nowhere."""
        by_tier = {HOST: 0, DISK: 0}
        for group, depths in enumerate(self._needed(end)):
            for depth in range(max(start, depths.start), depths.stop):
                location = found[depth - start]
                if not location.mask >> group & 1:
                    return None
                by_tier[location.tier] += self._block_bytes[group]
        return by_tier

    def _needed(self, end: int) -> list[range]:
        """Per group, the depths of blocks that are still read behind `end` blocks; of states, the last one's."""
        needed: list[range] = []
        for group, rows in enumerate(self._rows):
            first, last = self.layout.held_range(group, end * self.layout.block_size, 1) if rows else (0, 0)
            if group in self._states:
                first, last = end - 1, end
            needed.append(range(first, max(first, min(last, end))))
        return needed
