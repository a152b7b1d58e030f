"""Writing behind: one thread appends what others hand in, and they never wait for it."""

import contextlib
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from windowtax.base.units import format_bytes
from windowtax.store.disk.index import Entry
from windowtax.store.disk.record import Buffer, Record, pack
from windowtax.store.disk.room import Room, sync_folder
from windowtax.store.disk.segment import SegmentWriter, segment_numbers
from windowtax.store.disk.shelf import Shelf, waiting_entry

log = logging.getLogger("windowtax.cache")
_RETRY_S = 30.0
_IDLE_S = 5.0
_SAVE_SHARE = 0.02
"""Snapshots take at most so much of the time: those of a large index are saved more seldom."""
_TEXT = {errno.ENOSPC: "the disk is full", errno.EFBIG: "the system lets no file grow further"}


class Sync(StrEnum):
    """When to wait for the disk. Less than EACH may cost blocks in a power failure; what is left is right even so."""

    NEVER = "never"
    SEALED = "sealed"
    EACH = "each"


class Writer:
    """The owner's thread. stopped: why nothing is written for now, in words; None while all is well.

    queue_bytes: what may wait; more is dropped and counted.
    """

    def __init__(self, shelf: Shelf, room: Room, *, queue_bytes: int, sync: Sync) -> None:
        self.shelf = shelf
        self.room = room
        self.stopped: str | None = None
        self._queue_bytes = queue_bytes
        self._sync = sync
        self._jobs: deque[Callable[[], None]] = deque()
        self._active: SegmentWriter | None = None
        self._changed = threading.Condition(shelf.lock)
        self._busy = self._closing = False
        self._retry_at = self._save_at = 0.0
        self._next_number = max(segment_numbers(shelf.folder.segments), default=0) + 1
        self._thread = threading.Thread(target=self._run, name="windowtax-cache-writer", daemon=True)
        self._thread.start()

    @property
    def accepts(self) -> bool:
        """Whether anything is written at all: after a failure, not again for a while."""
        return not self._closing and (self.stopped is None or self.shelf.clock() >= self._retry_at)

    def put(self, record: Record) -> bool:
        """Queues a record; False where it is dropped. Never waits. The record's bytes must not change afterwards."""
        shelf, counters, size = self.shelf, self.shelf.counters, record.payload_bytes
        with self._changed:
            if record.key in shelf.waiting:
                return True
            if not self.accepts:
                counters.dropped_full += 1
                return False
            limit = self.room.largest_record_bytes
            if limit is not None and size > limit:
                counters.dropped_large += 1
                return False
            if shelf.waiting_bytes + size > self._queue_bytes:
                counters.dropped_busy += 1
                return False
            shelf.waiting[record.key] = (waiting_entry(record, shelf.clock()), record)
            shelf.waiting_bytes += size
            self._jobs.append(partial(self._write_waiting, record.key))
            self._changed.notify_all()
        return True

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until all that was handed in is written or dropped, and the snapshot saved. False after the timeout."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self._jobs and not self._busy, timeout_s)
        if done:
            self._save()
        return done

    def compact(self, keep: Callable[[Entry], bool]) -> None:
        """Lets all records go of which `keep` says so, and the bytes of those that went before. Raises OSError."""
        failed: list[OSError] = []
        with self._changed:
            self._jobs.append(partial(self._compact, keep, failed))
            self._changed.notify_all()
        self.flush()
        if failed:
            raise failed[0]

    def close(self) -> None:
        """Writes what waits, then ends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing, _IDLE_S)
                job = self._jobs.popleft() if self._jobs else None
                self._busy = job is not None
                if job is None and self._closing:
                    break
            if job is None:
                if self.shelf.dirty and time.monotonic() >= self._save_at:
                    self._save()
                continue
            try:
                job()
            except OSError as error:
                self._stop(f"{_TEXT.get(error.errno or 0, error.strerror)} ({self.shelf.folder.path})")
            except Exception as error:  # a thread that ends here would leave those hanging that wait for it
                log.exception("a prefix could not be kept")
                self._stop(f"{type(error).__name__}: {error} ({self.shelf.folder.path})")
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        self._seal()
        self._save()

    def _stop(self, why: str) -> None:
        if self.stopped != why:
            log.warning("prefixes are not written for now", extra={"facts": {"why": why}})
        self.stopped = why
        self._retry_at = self.shelf.clock() + _RETRY_S

    def _write_waiting(self, key: bytes) -> None:
        entry, record = self.shelf.waiting[key]
        counters, written = self.shelf.counters, False
        try:
            self._append(record, entry)
            if self.stopped is not None:
                log.warning("prefixes are written again", extra={"facts": {"folder": str(self.shelf.folder.path)}})
            self.stopped, written = None, True
        finally:
            with self._changed:
                del self.shelf.waiting[key]
                self.shelf.waiting_bytes -= record.payload_bytes
                counters.written_records += written
                counters.written_bytes += written * record.payload_bytes
                counters.dropped_full += not written

    def _append(self, record: Record, history: Entry) -> None:
        """Writes a record and files it with the uses that `history` had, in time also of those. Raises OSError."""
        buffers = pack(record)
        size = sum(map(len, buffers))
        if not self.room.fits(size):
            self._clear(size)
        self._place(buffers, size, record, history)

    def _clear(self, size: int) -> None:
        self.room.clear(size, self._active_number, self._move)
        if not self.room.fits(size):
            self._seal()
            self.room.clear(size, None, self._move)
        if not self.room.fits(size):
            text = f"the budget of {format_bytes(self.room.budget_bytes or 0)} is used up by what is pinned"
            raise OSError(errno.EDQUOT, text)

    def _place(self, buffers: list[Buffer], size: int, record: Record, history: Entry) -> None:
        if self._active is not None and self._active.end and self._active.end + size > self.room.segment_bytes:
            self._seal()
        if self._active is None:
            self._active = SegmentWriter(self.shelf.folder.segments, self._next_number)
            self._next_number += 1
        offset = self._active.append(buffers)
        if self._sync is Sync.EACH:
            self._active.sync()
        with self.shelf.lock:
            entry = waiting_entry(record, history.last_used_s)
            entry.segment, entry.offset, entry.record_bytes = self._active.number, offset, size
            entry.hits, entry.pinned = history.hits, history.pinned
            self.shelf.index.file(entry)
            self.shelf.dirty = True

    def _move(self, entry: Entry) -> None:
        """Writes a record of a segment that is cleared away into the active one; a damaged one is lost."""
        record = self.shelf.read(entry.key, entry.fingerprint)
        if record is not None:
            buffers = pack(record)
            self._place(buffers, sum(map(len, buffers)), record, entry)

    def _compact(self, keep: Callable[[Entry], bool], failed: list[OSError]) -> None:
        self._seal()
        try:
            self.room.compact(keep, self._move)
        except OSError as error:
            failed.append(error)

    @property
    def _active_number(self) -> int | None:
        return None if self._active is None else self._active.number

    def _seal(self) -> None:
        """Ends the active segment."""
        if self._active is None:
            return
        if self._sync is not Sync.NEVER:
            with contextlib.suppress(OSError):  # a disk that fails here shows it again at the next write
                self._active.sync()
                sync_folder(self.shelf.folder.segments)
        self._active.close()
        self._active = None
        self._save()

    def _save(self) -> None:
        began = time.monotonic()
        # Without a snapshot the next start reads the heads.
        with contextlib.suppress(OSError):
            self.shelf.save()
        now = time.monotonic()
        self._save_at = now + (now - began) / _SAVE_SHARE
