"""The tiers below the device, as one: where a block lies, how it is fetched, and what becomes of one handed in."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from windowtax.cache.tiers import DISK, HOST, Books, Offer, Speeds, choose
from windowtax.store.disk.record import Record
from windowtax.store.disk.tier import DiskTier
from windowtax.store.host import HostTier


@dataclass(frozen=True, slots=True)
class Location:
    """Where a block lies below the device. mask: bit g where it has bytes of layer group g."""

    tier: str
    mask: int


class LowerTiers:
    """Host RAM of so many bytes (0: none) above a disk (None: none). All goes to both: what RAM drops is on the disk.

    Blocks that the disk had no time for when they came get a second chance when RAM lets them go. Any thread may
    `fetch`; the rest is the engine's.
    """

    def __init__(self, host_bytes: int = 0, disk: DiskTier | None = None, num_readers: int = 2) -> None:
        self.disk = disk
        self.speeds = Speeds()
        self.num_readers = num_readers
        self._host = HostTier()
        self._books = Books(host_bytes)
        self._lock = threading.Lock()

    @property
    def host_bytes(self) -> int:
        """Bytes kept in host RAM."""
        return self._host.used_bytes

    @property
    def accepts(self) -> bool:
        """Whether anything handed in now has a chance."""
        return self._books.budget_bytes > 0 or (self.disk is not None and self.disk.accepts)

    def find(self, key: bytes) -> Location | None:
        """Where a block lies: in the fastest tier that has it."""
        record = self._host.get(key)
        if record is not None:
            return Location(HOST, record.mask)
        entry = None if self.disk is None else self.disk.find(key)
        return None if entry is None else Location(DISK, entry.mask)

    def fetch(self, key: bytes) -> tuple[str, Record] | None:
        """A block and the tier it came from; what comes from disk stays in RAM. None where it is gone or damaged."""
        record = self._host.get(key)
        if record is not None:
            return HOST, record
        record = None if self.disk is None else self.disk.read(key)
        if record is None:
            return None
        self._keep_in_host(record)
        return DISK, record

    def put(self, record: Record) -> bool:
        """Keeps a block in every tier; False where none took it. Never waits."""
        in_host = self._keep_in_host(record)
        return (self.disk is not None and self.disk.put(record)) or in_host

    def touch(self, chain: Sequence[bytes]) -> None:
        """Books a use of a chain's blocks in every tier."""
        with self._lock:
            self._books.touch(chain)
        if self.disk is not None:
            self.disk.touch(chain)

    def choose(self, offers: Iterable[Offer]) -> Offer | None:
        """The load that pays most, by what was measured."""
        return choose(offers, self.speeds)

    def book_load(self, tier: str, num_bytes: int, seconds: float) -> None:
        """Books how long one reader took for a block."""
        with self._lock:
            self.speeds.tiers[tier].book(num_bytes, seconds / self.num_readers)

    def close(self) -> None:
        """Hands what only RAM has to the disk, waits until it is written, and closes the folder."""
        if self.disk is None:
            return
        for record in self._host.records():
            if self.disk.find(record.key) is None and not self.disk.put(record) and self.disk.accepts:
                self.disk.flush()
                self.disk.put(record)
        self.disk.close()

    def _keep_in_host(self, record: Record) -> bool:
        if not self._books.budget_bytes:
            return False
        with self._lock:
            self._host.put(record)
            gone = [self._host.drop(key) for key in self._books.add(record.key, record.payload_bytes)]
        if self.disk is not None:
            for victim in gone:
                if victim is not None:
                    self.disk.put(victim)
        return record.key in self._books
