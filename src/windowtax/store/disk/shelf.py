"""The records of a folder as one process sees them: found, read, checked, counted; also those still to be written."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from windowtax.store.disk.folder import Folder
from windowtax.store.disk.index import Entry, Index, write_whole
from windowtax.store.disk.record import Head, Record, unpack, unpack_head
from windowtax.store.disk.segment import SegmentScan, read_record, segment_numbers, segment_path

WAITING = -1
"""The segment of a record that is not written yet."""


@dataclass(slots=True)
class Counters:
    """What happened since the folder was opened. Bytes are of whole records; seconds of reading, checks included."""

    written_records: int = 0
    written_bytes: int = 0
    read_records: int = 0
    read_bytes: int = 0
    read_s: float = 0.0
    dropped_busy: int = 0
    dropped_full: int = 0
    dropped_large: int = 0
    corrupt_records: int = 0
    damaged_bytes: int = 0
    evicted_records: int = 0
    reclaimed_bytes: int = 0


class Shelf:
    """Index and waiting records of one folder, behind one lock that is never held while a disk works.

    owner: whether this process writes here; others see what they read when they opened it, and what `refresh` adds.
    """

    def __init__(self, folder: Folder, *, owner: bool, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.owner = owner
        self.clock = clock
        self.lock = threading.RLock()
        self.counters = Counters()
        self.index = Index()
        self.waiting: dict[bytes, tuple[Entry, Record]] = {}
        self.waiting_bytes = 0
        self.dirty = False  # whether the snapshot is older than the index
        self._pins_version = (-1, -1)
        numbers = segment_numbers(folder.segments)
        self.index.load(folder.index, numbers)
        self.refresh()

    @property
    def file_bytes(self) -> int:
        """Bytes of all segment files."""
        with self.lock:
            return sum(self.index.ends.values())

    def entries(self) -> list[Entry]:
        """All records on the disk."""
        with self.lock:
            return list(self.index)

    def find(self, key: bytes, fingerprint: bytes) -> Entry | None:
        """A record that can be read by whoever has this fingerprint."""
        with self.lock:
            waiting = self.waiting.get(key)
            entry = self.index.get(key) if waiting is None else waiting[0]
        return entry if entry is not None and entry.fingerprint == fingerprint else None

    def read(self, key: bytes, fingerprint: bytes) -> Record | None:
        """A record as it was written, or None: what is missing, cut off or changed is dropped and counted.

        Its parts are views of one buffer that nobody else has.
        """
        began = time.perf_counter()
        entry = None
        for _ in range(2):  # a segment may be cleared away between the look and the read; then it lies elsewhere
            with self.lock:
                waiting = self.waiting.get(key)
            if waiting is not None:
                return waiting[1] if waiting[0].fingerprint == fingerprint else None
            entry = self.find(key, fingerprint)
            if entry is None:
                return None
            try:
                data = read_record(self.folder.segments, entry.segment, entry.offset, entry.record_bytes)
            except OSError:
                continue
            found = unpack(data)
            if found is None or found[0].key != key or found[0].fingerprint != fingerprint:
                self._lose(entry)
                return None
            self._count_read(len(data), time.perf_counter() - began)
            return found[0].record(found[1])
        if entry is not None:
            self._lose(entry)
        return None

    def head(self, entry: Entry) -> Head | None:
        """What the head of a written record says, without its bytes; None where it cannot be read."""
        size = entry.record_bytes - entry.payload_bytes
        try:
            return unpack_head(read_record(self.folder.segments, entry.segment, entry.offset, size))
        except OSError:
            return None

    def touch(self, keys: Iterable[bytes]) -> None:
        """Books a use of these now."""
        now = self.clock()
        with self.lock:
            for key in keys:
                waiting = self.waiting.get(key)
                entry = self.index.get(key) if waiting is None else waiting[0]
                if entry is not None:
                    entry.last_used_s = now
                    entry.hits += 1
                    self.dirty = True

    def refresh(self) -> None:
        """Reads what is new in the folder: heads behind the known ends, segments that came or went, and pins.

        The owner cuts off what a crash left half written.
        """
        numbers = segment_numbers(self.folder.segments)
        for number in set(self.index.ends) - set(numbers):
            with self.lock:
                self.index.drop_segment(number)
        for number in numbers:
            try:
                self._read_heads(number)
            except OSError:
                continue  # cleared away meanwhile, or unreadable: there is nothing to find in it
        self.read_pins()

    def read_pins(self) -> None:
        """Takes over the pins of the folder where they changed."""
        version = self.folder.pins_version()
        if version == self._pins_version:
            return
        pins = self.folder.pins()
        with self.lock:
            self._pins_version = version
            for entry in self.index:
                entry.pinned = entry.key in pins

    def save(self) -> None:
        """Writes the snapshot. Raises OSError."""
        with self.lock:
            self.dirty = False
            data = self.index.packed()
        write_whole(self.folder.index, data)

    def _read_heads(self, number: int) -> None:
        size = os.stat(segment_path(self.folder.segments, number)).st_size
        start = self.index.ends.get(number, 0)
        if size < start:
            self._cut(number, size)
            return
        scan = SegmentScan(self.folder.segments, number, start)
        for offset, head in scan:
            with self.lock:
                self.index.file(Entry.of(head, number, offset))
        with self.lock:
            self.index.ends[number] = scan.end
            self.counters.damaged_bytes += scan.damaged_bytes
        if self.owner and scan.end < size:
            self.counters.damaged_bytes += size - scan.end
            os.truncate(segment_path(self.folder.segments, number), scan.end)

    def _cut(self, number: int, size: int) -> None:
        """Somebody shortened a segment: what lay behind its new end is lost."""
        with self.lock:
            gone = [
                entry for entry in self.index if entry.segment == number and entry.offset + entry.record_bytes > size
            ]
            for entry in gone:
                self.index.drop(entry.key)
            self.index.ends[number] = size
            self.counters.corrupt_records += len(gone)

    def _lose(self, entry: Entry) -> None:
        with self.lock:
            self.counters.corrupt_records += 1
            if self.index.get(entry.key) is entry:
                self.index.drop(entry.key)
                self.dirty = True

    def _count_read(self, num_bytes: int, seconds: float) -> None:
        with self.lock:
            self.counters.read_records += 1
            self.counters.read_bytes += num_bytes
            self.counters.read_s += seconds


def waiting_entry(record: Record, now: float) -> Entry:
    """The entry of a record that lies nowhere yet. now: of its last use."""
    return Entry(
        key=record.key,
        parent=record.parent,
        fingerprint=record.fingerprint,
        segment=WAITING,
        offset=0,
        record_bytes=record.payload_bytes,
        payload_bytes=record.payload_bytes,
        depth=record.depth,
        num_tokens=len(record.token_ids),
        mask=record.mask,
        created_s=record.created_s,
        last_used_s=now,
    )
