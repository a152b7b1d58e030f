"""A stand-in for an engine over cache, store and tiers: "computing" a block writes bytes that its prefix determines.

The expected bytes come from a hash of the tokens (hashlib), not from anything that the project wrote earlier.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from windowtax.cache.tiers import rank
from windowtax.engine.lower import LowerTiers
from windowtax.engine.tiering import TieredCache
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import CACHE_DTYPES
from windowtax.store.disk.tier import DiskTier
from windowtax.store.kv import KVStore

SIZE = 4
FULL = LayerCache((*CACHE_DTYPES["int8"].vector_planes("k", 2, 8), *CACHE_DTYPES["int8"].vector_planes("v", 2, 8)))
WINDOW = LayerCache(FULL.planes, window=6)
SINKS = (LayerCache(FULL.planes, keep_first=3), LayerCache(FULL.planes, window=5, skip_first=3))
LAYOUTS = {
    "full": CacheLayout.of([FULL, FULL], SIZE),
    "full and a window": CacheLayout.of([FULL, WINDOW, WINDOW], SIZE),
    "sinks and a window": CacheLayout.of([SINKS, FULL], SIZE),
    "windows alone": CacheLayout.of([WINDOW, WINDOW], SIZE),
}
FINGERPRINT = bytes(range(16))


class Machine:
    """One life of a process: device blocks, RAM, and a folder that outlives it."""

    def __init__(
        self,
        folder: Path | None,
        layout: CacheLayout = LAYOUTS["full"],
        *,
        blocks: int = 200,
        host_bytes: int = 0,
        disk_bytes: int | None = None,
        fingerprint: bytes = FINGERPRINT,
    ) -> None:
        self.disk = None if folder is None else DiskTier(folder, disk_bytes, fingerprint=fingerprint, rank=rank)
        self.cache = TieredCache(
            layout, [blocks] * len(layout.groups), LowerTiers(host_bytes, self.disk), fingerprint=b"model"
        )
        self.store = KVStore(layout, self.cache.num_blocks, torch.device("cpu"))
        self.cache.bind(self.store)
        self._count = 0

    def expected(self, tokens: Sequence[int], depth: int, group: int) -> bytes:
        """What block `depth` of these tokens holds in a group."""
        size = sum(len(plane) * plane.shape[2] for plane in self.store.planes[group].values())
        seed = repr((list(tokens[: (depth + 1) * SIZE]), group)).encode()
        return hashlib.shake_256(seed).digest(size)

    def run(self, tokens: list[int], *, salt: str = "", chunk: int = 8) -> dict[str, int]:
        """Computes a prompt as an engine does; checks all bytes it can read; returns its cached tokens by tier."""
        cache, name = self.cache, f"s{self._count}"
        self._count += 1
        while not cache.ready(name, tokens, salt):
            cache.wait(1.0)
        done = cache.attach(name, tokens, salt)
        by_tier = dict(cache.cached_by_tier(name))
        assert sum(by_tier.values()) == done
        self.check(name, tokens, done)
        while done < len(tokens):
            new = min(chunk, len(tokens) - done)
            assert cache.reserve(name, done, new)
            for group, table in enumerate(cache.tables(name)):
                for depth in range(max(done // SIZE, table.first), min((done + new) // SIZE, table.end)):
                    block = table.blocks[depth - table.first]
                    self.store.put_block_bytes(group, block, self.expected(tokens, depth, group))
            done += new
            cache.completed(name, tokens, done)
            cache.trim(name, done)
            self.check(name, tokens, done)
        cache.free(name)
        cache.check()
        return by_tier

    def check(self, name: str, tokens: Sequence[int], done: int) -> None:
        """Every whole block that a next token reads has the bytes of its prefix."""
        for group in range(len(self.cache.pools)):
            first, end = self.cache.layout.held_range(group, done, 1)
            if done == 0:
                continue
            table = self.cache.tables(name)[group]
            for depth in range(first, min(end, done // SIZE)):
                assert table.first <= depth < table.end
                found = self.store.block_bytes(group, table.blocks[depth - table.first])
                assert found == self.expected(tokens, depth, group), (group, depth)

    def close(self) -> None:
        self.cache.close()
        assert self.cache.held_bytes == self.cache.kept_bytes, "a load holds blocks"
