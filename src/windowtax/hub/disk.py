"""Bytes on the disk: hashing in small pieces, room before a write, and a full disk as an answer, not as a crash."""

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import IO, Protocol

from windowtax.base.errors import FetchFailed
from windowtax.base.units import format_bytes

CHUNK_BYTES = 1 << 20
_MARGIN_BYTES = 16 << 20


class Hasher(Protocol):
    """What this room needs of a hashlib object."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def copy_bytes(source: IO[bytes], num_bytes: int, *hashers: Hasher, to: IO[bytes] | None = None) -> int:
    """Reads up to `num_bytes` from `source` into every hasher, and into `to` if given. Returns the bytes there were."""
    left = num_bytes
    while left > 0:
        chunk = source.read(min(CHUNK_BYTES, left))
        if not chunk:
            break
        for hasher in hashers:
            hasher.update(chunk)
        if to is not None:
            to.write(chunk)
        left -= len(chunk)
    return num_bytes - left


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal. Raises OSError."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while copy_bytes(file, CHUNK_BYTES, hasher):
            pass
    return hasher.hexdigest()


def need_space(folder: Path, num_bytes: int) -> None:
    """Raises FetchFailed unless the disk of `folder` has `num_bytes` free, and a little more."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < num_bytes + _MARGIN_BYTES:
        raise FetchFailed(
            f"This needs {format_bytes(num_bytes)} on the disk of {folder}, where {format_bytes(free_bytes)} are free.",
            "Make room there, then pull again: what is already here and verified is kept.",
        )


@contextlib.contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """Turns an OSError inside the block (full disk, no permission) into FetchFailed that names the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchFailed(
                f"The disk of {folder} is full.",
                "Make room there, then pull again: what is already here and verified is kept.",
            ) from error
        raise FetchFailed(f"{folder} cannot be used: {error}.", "Check the folder and its permissions.") from error
