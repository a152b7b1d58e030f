"""Host RAM for preempted sequences: what cache/offload.py books, with bytes and a clock."""

import time

from windowtax.cache.blocks import BlockBytes
from windowtax.cache.offload import OffloadSpace


class HostSpace(OffloadSpace):
    """Copies blocks at once, and books how long that takes."""

    _store: BlockBytes

    def bind(self, store: BlockBytes) -> None:
        self._store = store

    def save(self, group: int, block: int) -> bytes:
        began = time.perf_counter()
        data = self._store.block_bytes(group, block)
        self.speeds.saving.book(len(data), time.perf_counter() - began)
        return data

    def load(self, group: int, block: int, data: bytes) -> None:
        began = time.perf_counter()
        self._store.put_block_bytes(group, block, data)
        self.speeds.restoring.book(len(data), time.perf_counter() - began)
