"""One kept block as it lies in a segment file: a head that can be read alone, then the bytes of every layer group.

    fixed head | token ids, uint32 each | byte length per group, uint64 each | digest of all that | payload | zeros

All numbers are little-endian. Records begin at multiples of ALIGN_BYTES, so that a reader who meets damage finds the
next one. Two digests (blake3, cut to 16 bytes): the head's, so that an index can be rebuilt from heads alone, and the
payload's, which is checked at every single read.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

FORMAT_VERSION = 1
MAGIC = b"WTKV"
ALIGN_BYTES = 64
DIGEST_BYTES = 16
ROOT = bytes(DIGEST_BYTES)
"""Where a key is wanted and there is none: the parent of a prompt's first block."""

Buffer = bytes | bytearray | memoryview
Parts = tuple[Buffer | None, ...]
"""The bytes of one block per layer group; None where the group keeps none for it."""

_FIXED = struct.Struct("<4sHHII16s16s16sdQ16s")
_ABSENT = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Record:
    """A kept block. key, parent: names of it and of the block before it (ROOT: none). depth: blocks before it.

    fingerprint: 16 bytes over all that says how to read the parts (model, dtypes, layout, arrangement of the backend).
    """

    key: bytes
    parent: bytes
    fingerprint: bytes
    depth: int
    token_ids: Sequence[int]
    parts: Parts
    created_s: float

    @property
    def payload_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(len(part) for part in self.parts if part is not None)

    @property
    def mask(self) -> int:
        """Bit g is set where group g has a part."""
        return sum(1 << group for group, part in enumerate(self.parts) if part is not None)


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a record says. lengths: per group, bytes of its part, or None. digest: of the payload."""

    key: bytes
    parent: bytes
    fingerprint: bytes
    depth: int
    token_ids: array
    lengths: tuple[int | None, ...]
    created_s: float
    head_bytes: int
    payload_bytes: int
    digest: bytes

    @property
    def record_bytes(self) -> int:
        """Bytes from the beginning of this record to that of the next one."""
        return -(-(self.head_bytes + self.payload_bytes) // ALIGN_BYTES) * ALIGN_BYTES

    @property
    def mask(self) -> int:
        """Bit g is set where group g has a part."""
        return sum(1 << group for group, length in enumerate(self.lengths) if length is not None)

    def record(self, parts: Parts) -> Record:
        """The record that this is the head of."""
        return Record(self.key, self.parent, self.fingerprint, self.depth, self.token_ids, parts, self.created_s)


def pack(record: Record) -> list[Buffer]:
    """The buffers of a record, to be written one behind the other."""
    digest = blake3()
    for part in record.parts:
        if part is not None:
            digest.update(part)
    payload_bytes = record.payload_bytes
    tables = array("I", record.token_ids).tobytes()
    tables += array("Q", [_ABSENT if part is None else len(part) for part in record.parts]).tobytes()
    fixed = _FIXED.pack(
        MAGIC,
        FORMAT_VERSION,
        len(record.parts),
        len(record.token_ids),
        record.depth,
        record.key,
        record.parent,
        record.fingerprint,
        record.created_s,
        payload_bytes,
        digest.digest(DIGEST_BYTES),
    )
    head = fixed + tables
    head += blake3(head).digest(DIGEST_BYTES)
    padding = bytes(-(len(head) + payload_bytes) % ALIGN_BYTES)
    return [head, *(part for part in record.parts if part is not None), padding]


def head_bytes_of(start: Buffer) -> int | None:
    """How long the head is that begins so; None where no record of this version begins so."""
    if len(start) < _FIXED.size:
        return None
    magic, version, num_groups, num_tokens, *_ = _FIXED.unpack_from(start)
    if magic != MAGIC or version != FORMAT_VERSION:
        return None
    return _FIXED.size + 4 * num_tokens + 8 * num_groups + DIGEST_BYTES


def unpack_head(buffer: Buffer) -> Head | None:
    """The head at the beginning of these bytes; None where it is cut off or damaged."""
    size = head_bytes_of(buffer)
    if size is None or len(buffer) < size:
        return None
    body = bytes(buffer[: size - DIGEST_BYTES])
    if blake3(body).digest(DIGEST_BYTES) != bytes(buffer[size - DIGEST_BYTES : size]):
        return None
    _, _, num_groups, num_tokens, depth, key, parent, fingerprint, created_s, payload_bytes, digest = (
        _FIXED.unpack_from(body)
    )
    tokens_end = _FIXED.size + 4 * num_tokens
    token_ids, lengths = array("I"), array("Q")
    token_ids.frombytes(body[_FIXED.size : tokens_end])
    lengths.frombytes(body[tokens_end : tokens_end + 8 * num_groups])
    parts = tuple(None if length == _ABSENT else length for length in lengths)
    return Head(key, parent, fingerprint, depth, token_ids, parts, created_s, size, payload_bytes, digest)


def unpack(buffer: Buffer) -> tuple[Head, Parts] | None:
    """A whole record: its head and views of its parts; None where a single bit of it is not as it was written."""
    head = unpack_head(buffer)
    if head is None or len(buffer) < head.head_bytes + head.payload_bytes:
        return None
    payload = memoryview(buffer)[head.head_bytes : head.head_bytes + head.payload_bytes]
    if blake3(payload).digest(DIGEST_BYTES) != head.digest:
        return None
    parts: list[Buffer | None] = []
    begin = 0
    for length in head.lengths:
        parts.append(None if length is None else payload[begin : begin + length])
        begin += length or 0
    return head, tuple(parts)
