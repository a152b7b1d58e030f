"""The tiers below the device, as one: where a block lies, how it is fetched, and what becomes of one handed in."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from windowtax.cache.tiers import DISK, HOST, Books, Offer, Speeds, choose
from windowtax.store.disk.index import Entry
from windowtax.store.disk.record import Record
from windowtax.store.disk.shelf import WAITING
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

    def tiers_of(self, key: bytes) -> list[str]:
        """All of these tiers that have a block."""
        on_disk = self.disk is not None and self.disk.find(key) is not None
        return [tier for tier, there in ((HOST, self._host.get(key) is not None), (DISK, on_disk)) if there]

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

    def token_ids(self, key: bytes) -> Sequence[int] | None:
        """The tokens of a block, read without its bytes; None where it is gone."""
        record = self._host.get(key)
        entry = None if record is not None or self.disk is None else self.disk.find(key)
        if entry is None or self.disk is None:
            return None if record is None else record.token_ids
        if entry.segment == WAITING:
            record = self.disk.read(key)
            return None if record is None else record.token_ids
        head = self.disk.shelf.head(entry)
        return None if head is None else head.token_ids

    def snapshot(self) -> tuple[list[Record], list[Entry]]:
        """All blocks in RAM, and all on the disk that can be read here, written or about to be."""
        if self.disk is None:
            return self._host.records(), []
        shelf, fingerprint = self.disk.shelf, self.disk.fingerprint
        with shelf.lock:
            entries = [entry for entry, _ in shelf.waiting.values()]
            entries += shelf.entries()
        return self._host.records(), [entry for entry in entries if entry.fingerprint == fingerprint]

    def sums(self) -> dict[str, dict[str, int | str | None]]:
        """Blocks and bytes of each tier that there is, everybody's. Bytes on the disk are those of its files."""
        found: dict[str, dict[str, int | str | None]] = {}
        if self._books.budget_bytes:
            held = {"blocks": len(self._host), "bytes": self._host.used_bytes}
            found[HOST] = {**held, "budget_bytes": self._books.budget_bytes}
        if self.disk is not None:
            shelf = self.disk.shelf
            with shelf.lock:
                count = len(shelf.index) + len(shelf.waiting)
            held = {"blocks": count, "bytes": shelf.file_bytes}
            found[DISK] = {**held, "budget_bytes": self.disk.room.budget_bytes, "stopped": self.disk.stopped}
        return found

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

    def lend(self, num_bytes: int) -> bool:
        """Gives host RAM to somebody else; what was kept there goes to the disk. False where it has not so much."""
        with self._lock:
            gone = self._books.shrink(num_bytes)
            victims = [self._host.drop(key) for key in gone or ()]
        self._keep_on_disk(victims)
        return gone is not None

    def take_back(self, num_bytes: int) -> None:
        """Has that RAM again."""
        with self._lock:
            self._books.take_back(num_bytes)

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
        self._keep_on_disk(gone)
        return record.key in self._books

    def _keep_on_disk(self, records: Iterable[Record | None]) -> None:
        for record in records:
            if record is not None and self.disk is not None:
                self.disk.put(record)
