"""Kept prefixes in a replay: on the device, in the blocks that nobody needs just now, and below it in slower tiers.

Every computed block is written through to all tiers, and each tier drops blocks by the same policy when it is full, so
a slower, larger tier finds what a faster one has dropped. What a tier below the device finds is copied into the
sequence's own blocks, and that takes time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.base.sourced import Basis, Sourced
from windowtax.cache.manager import CacheManager
from windowtax.cache.prefix import PrefixIndex
from windowtax.spec.cache import CacheLayout

HOST_BYTES_PER_S = Sourced(
    41.7e9, "B/s", Basis.MEASURED, "half of 83.4 GB/s both ways, host and H100, vLLM blog 2026-01-08", "2026-11-22"
)
"""From host memory to one accelerator."""
DISK_BYTES_PER_S = Sourced(
    7.1e9, "B/s", Basis.MEASURED, "6.6 GiB/s, NVMe Gen4 x4 (Solidigm D7-P5520), solidigm.com", "2026-11-22"
)
"""From one disk, which the accelerators of a group share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A place for prefixes below the device. num_bytes: of it, for one replica; bytes_per_s: to the whole replica."""

    name: str
    num_bytes: int
    bytes_per_s: float


def kept_block_bytes(layout: CacheLayout, block_tokens: int) -> int:
    """Bytes of one rank for `block_tokens` tokens of a prefix that can be gone on from: all layers, and a state.

    Windowed layers are kept too, so that a request can leave the chain after any block; the engine may keep less.
    """
    ranges = (layout.held_range(group, 0, block_tokens) for group in range(len(layout.groups)))
    return layout.pool_bytes([end - first for first, end in ranges])


class PrefixTiers:
    """The tiers of one replica. Blocks of prefixes are named by a trace's keys.

    cache: the books of one rank. ranks: how many hold a share of every block. device: whether free blocks keep
    prefixes. only_shrinks: whether the device's room can but shrink as long as all sequences decode.
    """

    def __init__(
        self,
        cache: CacheManager,
        block_tokens: int,
        *,
        tiers: Sequence[Tier] = (),
        ranks: int = 1,
        policy: str = "lru",
        device: bool = True,
    ) -> None:
        self.block_tokens = block_tokens
        self._cache = cache
        self._key_bytes = kept_block_bytes(cache.layout, block_tokens)
        self._group_bytes = self._key_bytes * ranks
        groups, layout = cache.layout.groups, cache.layout
        growing = [group for group in range(len(groups)) if groups[group].cache.grows]
        # Blocks of windows come and go with every step; room for prefixes is what the growing layers leave.
        self._counted = [(group, layout.block_bytes(group)) for group in growing or range(len(groups))]
        self.only_shrinks = bool(growing) or not device
        self._indices: list[PrefixIndex] = []
        self._load_s: list[float] = []
        if device:
            self._add(0, 0.0, policy)
        self._places: dict[str, int] = {}
        for tier in tiers:
            self._places[tier.name] = len(self._indices)
            self._add(tier.num_bytes // self._group_bytes, self._group_bytes / tier.bytes_per_s, policy)
        self._device = self._indices[0] if device else None
        self.found_blocks = [0] * len(self._indices)
        self.fit_device()

    def take(self, keys: Sequence[int], held: int) -> tuple[int, float]:
        """Finds more of a chain of which keys[:held] are held; holds it in all tiers.

        Returns how many blocks are held now, and the seconds that copying the new ones to the device takes.
        """
        run, load_s = held, 0.0
        reached: list[int] = []
        for tier, index in enumerate(self._indices):
            end = held + index.acquire(keys, held)
            reached.append(end)
            if end > run:
                load_s += (end - run) * self._load_s[tier]
                self.found_blocks[tier] += end - run
                run = end
        for index, end in zip(self._indices, reached, strict=True):
            if end < run:
                index.insert(keys, end, run)
        return run, load_s

    def has(self, key: int) -> bool:
        """Whether any tier keeps this block."""
        return any(key in index for index in self._indices)

    def keep(self, keys: Sequence[int], held: int, end: int) -> None:
        """Files keys[held:end], which a sequence that holds keys[:held] has computed."""
        for index in self._indices:
            index.insert(keys, held, end)

    def release(self, keys: Sequence[int], held: int) -> None:
        """Lets go of keys[:held]; the sequence's blocks must be free by now, so that the device has room for them."""
        self.fit_device()
        for index in self._indices:
            index.release(keys, held)

    def fit_tier(self, name: str, num_bytes: int) -> None:
        """Sets the room of a tier below the device, and drops what has none; one that is not there is no error."""
        if name in self._places:
            self._indices[self._places[name]].resize(num_bytes // self._group_bytes)

    def fit_device(self) -> None:
        """Sets the device's room to the blocks that live sequences leave, and drops what has no room."""
        if self._device is not None:
            pools = self._cache.pools
            free_bytes = sum(pools[group].num_free * size for group, size in self._counted)
            self._device.resize(free_bytes // self._key_bytes)

    def _add(self, capacity: int, load_s: float, policy: str) -> None:
        self._indices.append(PrefixIndex(capacity, policy))
        self._load_s.append(load_s)
