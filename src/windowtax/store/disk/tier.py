"""The disk tier: prefixes in a folder that survive restarts, crashes, full disks and damage; shared by processes."""

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from windowtax.base.errors import BadInput, DoesNotFit
from windowtax.store.disk.folder import Folder, Form
from windowtax.store.disk.index import Entry
from windowtax.store.disk.record import Record
from windowtax.store.disk.room import Rank, Room
from windowtax.store.disk.shelf import Counters, Shelf
from windowtax.store.disk.writer import Sync, Writer

DEFAULT_QUEUE_BYTES = 256 << 20
_REFRESH_S = 1.0


class DiskTier:
    """Records in a folder, for whoever computes with one fingerprint.

    budget_bytes: of all segment files; None: no limit. rank: the highest is kept longest. The first process on a
    folder writes; others read what is there, and hand nothing in (`read_only`). Raises BadInput for a folder that
    cannot be used.
    """

    def __init__(
        self,
        path: Path,
        budget_bytes: int | None,
        *,
        fingerprint: bytes,
        rank: Rank,
        form: Form | None = None,
        read_only: bool = False,
        queue_bytes: int = DEFAULT_QUEUE_BYTES,
        sync: Sync = Sync.SEALED,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.fingerprint = fingerprint
        self.folder = Folder(path, must_exist=read_only)
        self.read_only = read_only or not self.folder.lock()
        self.shelf = Shelf(self.folder, owner=not self.read_only, clock=clock)
        self.room = Room(self.shelf, budget_bytes, rank)
        self._writer: Writer | None = None
        self._refreshed_s = clock()
        if not self.read_only:
            if form is not None:
                with contextlib.suppress(OSError):  # a full disk: the records say what they are to whoever needs it
                    self.folder.set_form(fingerprint, form)
            self._writer = Writer(self.shelf, self.room, queue_bytes=queue_bytes, sync=sync)

    @property
    def counters(self) -> Counters:
        """What happened since it was opened."""
        return self.shelf.counters

    @property
    def stopped(self) -> str | None:
        """Why nothing is written for now, in words."""
        if self._writer is None:
            return f"another process writes to {self.folder.path}"
        return self._writer.stopped

    @property
    def accepts(self) -> bool:
        """Whether a record handed in now has a chance."""
        return self._writer is not None and self._writer.accepts

    def find(self, key: bytes) -> Entry | None:
        """The record of that name, if it can be read. Who does not write looks for news now and then."""
        entry = self.shelf.find(key, self.fingerprint)
        if entry is None and self._writer is None and self.shelf.clock() >= self._refreshed_s + _REFRESH_S:
            self._refreshed_s = self.shelf.clock()
            self.shelf.refresh()
            entry = self.shelf.find(key, self.fingerprint)
        return entry

    def read(self, key: bytes) -> Record | None:
        """The record, every byte as it was written, or None."""
        return self.shelf.read(key, self.fingerprint)

    def put(self, record: Record) -> bool:
        """Hands a record in; it is found at once and written later. False where it is dropped. Never waits.

        One that is there already is not written again.
        """
        if self._writer is None:
            return False
        kept = self.shelf.find(record.key, record.fingerprint)
        if kept is not None and not record.mask & ~kept.mask:
            return True
        return self._writer.put(record)

    def touch(self, keys: Iterable[bytes]) -> None:
        """Books a use of these now."""
        self.shelf.touch(keys)

    def compact(self, keep: Callable[[Entry], bool]) -> None:
        """Lets records go, of any fingerprint, and clears away what is dead. Raises BadInput where another writes."""
        if self._writer is None:
            raise BadInput(f"{self.stopped}.", "Stop the server first.")
        try:
            self._writer.compact(keep)
        except OSError as error:
            raise DoesNotFit(f"{self.folder.path}: {error.strerror}.", "Make room on the disk.") from error

    def flush(self, timeout_s: float | None = None) -> bool:
        """Waits until everything handed in is written or dropped."""
        return self._writer is None or self._writer.flush(timeout_s)

    def close(self) -> None:
        """Writes what waits, saves the snapshot, and lets others write here."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.read_only = True
            self.folder.unlock()
