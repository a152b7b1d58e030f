"""Segment files: records one behind the other, written once, never changed, removed as a whole."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from windowtax.store.disk.record import ALIGN_BYTES, MAGIC, Buffer, Head, head_bytes_of, unpack_head

_NAME = re.compile(r"^([0-9]{8})\.seg$")
_HEAD_READ_BYTES = 4096
_SEARCH_BYTES = 1 << 20


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:08}.seg"


def segment_numbers(folder: Path) -> list[int]:
    """The numbers of all segments in a folder, oldest first."""
    return sorted(int(match[1]) for name in os.listdir(folder) if (match := _NAME.match(name)))


class SegmentWriter:
    """Appends to a new segment file. Raises FileExistsError where there is one of that number."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.end = 0
        self._fd = os.open(segment_path(folder, number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Writes a record; returns its offset. After an OSError (a full disk) the file is as it was before."""
        begin = self.end
        try:
            self.end = begin + _write_all(self._fd, buffers, begin)
        except OSError:
            os.ftruncate(self._fd, begin)
            raise
        return begin

    def sync(self) -> None:
        """Waits until the disk has it."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def read_record(folder: Path, number: int, offset: int, num_bytes: int) -> bytearray:
    """The bytes of one record, fewer where the file ends. Raises OSError where they cannot be read."""
    buffer = bytearray(num_bytes)
    fd = os.open(segment_path(folder, number), os.O_RDONLY)
    try:
        done = 0
        while done < num_bytes:
            count = os.preadv(fd, [memoryview(buffer)[done:]], offset + done)
            if count == 0:
                break
            done += count
    finally:
        os.close(fd)
    return buffer if done == num_bytes else buffer[:done]


class SegmentScan:
    """Reads the heads of a segment from an offset on. Afterwards: end, behind the last whole record; damaged_bytes."""

    def __init__(self, folder: Path, number: int, start: int = 0) -> None:
        self.end = start
        self.damaged_bytes = 0
        self._path = segment_path(folder, number)

    def __iter__(self) -> Iterator[tuple[int, Head]]:
        """Offsets and heads of all records that are whole as far as their heads say."""
        fd = os.open(self._path, os.O_RDONLY)
        try:
            size, offset = os.fstat(fd).st_size, self.end
            while offset < size:
                head = _head_at(fd, offset)
                if head is None or offset + head.record_bytes > size:
                    following = _next_record(fd, offset + ALIGN_BYTES, size)
                    if following is None:
                        return
                    self.damaged_bytes += following - offset
                    offset = following
                    continue
                yield offset, head
                offset += head.record_bytes
                self.end = offset
        finally:
            os.close(fd)


def _head_at(fd: int, offset: int) -> Head | None:
    start = os.pread(fd, _HEAD_READ_BYTES, offset)
    size = head_bytes_of(start)
    if size is not None and size > len(start):
        start += os.pread(fd, size - len(start), offset + len(start))
    return unpack_head(start)


def _next_record(fd: int, start: int, size: int) -> int | None:
    """Where the next whole head lies, at a multiple of ALIGN_BYTES."""
    while start < size:
        window = os.pread(fd, _SEARCH_BYTES, start)
        at = window.find(MAGIC)
        while at >= 0:
            if at % ALIGN_BYTES == 0:
                head = _head_at(fd, start + at)
                if head is not None and start + at + head.record_bytes <= size:
                    return start + at
            at = window.find(MAGIC, at + 1)
        start += _SEARCH_BYTES
    return None


def _write_all(fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    left = [view for buffer in buffers if len(view := memoryview(buffer))]
    total = sum(len(view) for view in left)
    written = 0
    while left:
        count = os.pwritev(fd, left, offset + written)
        written += count
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if left and count:
            left[0] = left[0][count:]
    return total
