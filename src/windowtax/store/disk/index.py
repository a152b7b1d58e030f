"""Which records a folder has and where, in memory; and the snapshot of it, which spares reading every head at a start.

A snapshot says how far each segment was read. What lies behind is read when the folder is opened; without a good
snapshot everything is. So it may be old, torn or missing, and nothing is lost but the counts of hits since.
"""

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from windowtax.store.disk.record import DIGEST_BYTES, Head

_MAGIC = b"WTIX0001"
_COUNTS = struct.Struct("<QQ")
_SEGMENT = struct.Struct("<QQ")
_ENTRY = struct.Struct("<16s16s16sQQQQIIQddI")


@dataclass(slots=True)
class Entry:
    """A record on the disk. segment, offset, record_bytes: where it lies. mask: bit g where group g has a part.

    created_s, last_used_s: seconds since 1970. hits: how often its bytes, or its place in a chain, were used.
    """

    key: bytes
    parent: bytes
    fingerprint: bytes
    segment: int
    offset: int
    record_bytes: int
    payload_bytes: int
    depth: int
    num_tokens: int
    mask: int
    created_s: float
    last_used_s: float
    hits: int = 0
    pinned: bool = False

    @classmethod
    def of(cls, head: Head, segment: int, offset: int) -> "Entry":
        return cls(
            key=head.key,
            parent=head.parent,
            fingerprint=head.fingerprint,
            segment=segment,
            offset=offset,
            record_bytes=head.record_bytes,
            payload_bytes=head.payload_bytes,
            depth=head.depth,
            num_tokens=len(head.token_ids),
            mask=head.mask,
            created_s=head.created_s,
            last_used_s=head.created_s,
        )


class Index:
    """Entries by key. ends: per segment, how far its records are known; the bytes of the file up to there."""

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self._entries: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: bytes) -> Entry | None:
        return self._entries.get(key)

    def file(self, entry: Entry) -> None:
        """Files a record; one of the same key gives way, and leaves its history."""
        old = self._entries.get(entry.key)
        if old is not None:
            entry.hits, entry.pinned = old.hits, old.pinned
            entry.last_used_s = max(entry.last_used_s, old.last_used_s)
        self._entries[entry.key] = entry
        self.ends[entry.segment] = max(self.ends.get(entry.segment, 0), entry.offset + entry.record_bytes)

    def drop(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def drop_segment(self, number: int) -> None:
        """Forgets a segment and all entries that still lie in it."""
        self.ends.pop(number, None)
        for key in [entry.key for entry in self if entry.segment == number]:
            del self._entries[key]

    def load(self, path: Path, present: Iterable[int]) -> bool:
        """Takes over a snapshot, but for segments that are gone. False, and nothing is taken, where it is no good."""
        try:
            data = path.read_bytes()
        except OSError:
            return False
        begin = len(_MAGIC) + DIGEST_BYTES
        body = data[begin:]
        if data[: len(_MAGIC)] != _MAGIC or blake3(body).digest(DIGEST_BYTES) != data[len(_MAGIC) : begin]:
            return False
        there = set(present)
        num_segments, num_entries = _COUNTS.unpack_from(body)
        at = _COUNTS.size
        segments_end = at + num_segments * _SEGMENT.size
        self.ends = {n: end for n, end in _SEGMENT.iter_unpack(body[at:segments_end]) if n in there}
        entries = _ENTRY.iter_unpack(body[segments_end : segments_end + num_entries * _ENTRY.size])
        self._entries = {row[0]: Entry(*row) for row in entries if row[3] in there}
        return True

    def packed(self) -> bytes:
        """The snapshot, for `load`."""
        segments = b"".join(_SEGMENT.pack(number, end) for number, end in self.ends.items())
        entries = b"".join(
            _ENTRY.pack(
                entry.key,
                entry.parent,
                entry.fingerprint,
                entry.segment,
                entry.offset,
                entry.record_bytes,
                entry.payload_bytes,
                entry.depth,
                entry.num_tokens,
                entry.mask,
                entry.created_s,
                entry.last_used_s,
                entry.hits,
            )
            for entry in self
        )
        body = _COUNTS.pack(len(self.ends), len(self)) + segments + entries
        return _MAGIC + blake3(body).digest(DIGEST_BYTES) + body


def write_whole(path: Path, data: bytes) -> None:
    """Writes a small file so that a reader sees the old one or the new one. Raises OSError."""
    beside = path.with_name(f"{path.name}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
