"""Room on the disk: segments are cleared away one at a time, and what is worth keeping in them is written anew.

The cleaner of a log-structured file system (Rosenblum and Ousterhout 1991, SOSP, section 3): hot are the best ranked
records that fill three quarters of the budget, and pinned ones; the segment with the fewest hot bytes goes first. As
hot bytes never fill all segments, each round frees some.
"""

import os
from collections.abc import Callable

from windowtax.store.disk.index import Entry
from windowtax.store.disk.segment import segment_path
from windowtax.store.disk.shelf import Shelf

MAX_SEGMENT_BYTES = 256 << 20
_SEGMENTS_PER_BUDGET = 16
_HOT_SHARE = 0.75
_FULL_SHARE = 0.95
_SLACK_SHARE = 1 / 32
"""So much more than asked for is freed at once, so that entries are not ranked for every record."""

Rank = Callable[[Entry], tuple[float, ...]]
"""What is kept longest has the highest rank."""


class Room:
    """The budget of a folder. budget_bytes: that all segment files together never exceed; None: no limit."""

    def __init__(self, shelf: Shelf, budget_bytes: int | None, rank: Rank) -> None:
        self.shelf = shelf
        self.budget_bytes = budget_bytes
        self.segment_bytes = MAX_SEGMENT_BYTES
        if budget_bytes is not None:
            self.segment_bytes = max(1, min(MAX_SEGMENT_BYTES, budget_bytes // _SEGMENTS_PER_BUDGET))
        self._rank = rank

    @property
    def largest_record_bytes(self) -> int | None:
        """The largest record that is taken in: clearing moves records, and needs room for that."""
        return None if self.budget_bytes is None else self.budget_bytes // 8

    @property
    def pin_limit_bytes(self) -> int | None:
        """The most that may be pinned: half of the budget."""
        return None if self.budget_bytes is None else self.budget_bytes // 2

    def fits(self, num_bytes: int) -> bool:
        """Whether so many more bytes keep within the budget, with room left to clear the fullest segment."""
        if self.budget_bytes is None:
            return True
        return self.shelf.file_bytes + num_bytes <= self.budget_bytes - self._reserve_bytes

    def clear(self, num_bytes: int, active: int | None, move: Callable[[Entry], None]) -> None:
        """Clears segments away, but not the active one, until `num_bytes` and some slack fit or nothing more can go.

        move: writes a record into the active segment. Raises OSError.
        """
        assert self.budget_bytes is not None
        self.shelf.read_pins()
        wanted = num_bytes + int(self.budget_bytes * _SLACK_SHARE)
        hot = self._hot()
        while not self.fits(wanted):
            segments = self._by_segment(lambda entry: entry.key in hot)
            if active is not None:
                segments.pop(active, None)
            if not segments:
                return
            victim = min(segments, key=lambda number: (self._share(number, segments[number]), number))
            if self._share(victim, segments[victim]) > _FULL_SHARE:
                return
            self._remove(victim, segments[victim], move)

    def compact(self, keep: Callable[[Entry], bool], move: Callable[[Entry], None]) -> None:
        """Clears away every segment in which not all is kept, the emptiest first: on a full disk these make room.

        Raises OSError.
        """
        self.shelf.read_pins()
        segments = self._by_segment(keep)
        for number in sorted(segments, key=lambda number: self._share(number, segments[number])):
            if self._share(number, segments[number]) < 1:
                self._remove(number, segments[number], move)

    def _remove(self, number: int, kept: list[Entry], move: Callable[[Entry], None]) -> None:
        """Moves these records of a segment, and clears it away with all others. Raises OSError."""
        for entry in kept:
            move(entry)
        shelf = self.shelf
        with shelf.lock:
            lost = sum(entry.segment == number for entry in shelf.index)
            shelf.counters.evicted_records += lost
            shelf.counters.reclaimed_bytes += shelf.index.ends.get(number, 0)
            shelf.index.drop_segment(number)
        segment_path(shelf.folder.segments, number).unlink(missing_ok=True)

    @property
    def _reserve_bytes(self) -> int:
        """Room for what is moved out of a segment before the segment goes."""
        assert self.budget_bytes is not None
        return max(self.segment_bytes, self.budget_bytes // 8)

    def _hot(self) -> set[bytes]:
        assert self.budget_bytes is not None
        entries = self.shelf.entries()
        hot = {entry.key for entry in entries if entry.pinned}
        left = int((self.budget_bytes - self._reserve_bytes) * _HOT_SHARE)
        left -= sum(entry.record_bytes for entry in entries if entry.pinned)
        for entry in sorted((entry for entry in entries if not entry.pinned), key=self._rank, reverse=True):
            left -= entry.record_bytes
            if left < 0:
                break
            hot.add(entry.key)
        return hot

    def _by_segment(self, keep: Callable[[Entry], bool]) -> dict[int, list[Entry]]:
        segments: dict[int, list[Entry]] = {number: [] for number in sorted(self.shelf.index.ends)}
        for entry in self.shelf.entries():
            if keep(entry):
                segments[entry.segment].append(entry)
        return segments

    def _share(self, number: int, kept: list[Entry]) -> float:
        return sum(entry.record_bytes for entry in kept) / max(1, self.shelf.index.ends[number])


def sync_folder(path: os.PathLike[str]) -> None:
    """Waits until the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
