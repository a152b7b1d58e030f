"""A folder of kept prefixes: what lies where in it, who may write to it, which prefixes are pinned, what the bytes are.

segments/00000001.seg ...   records
index                       snapshot
pins                        pinned keys, hexadecimal, one a line
forms/FINGERPRINT.json      what records of that fingerprint are: model, dtypes, layout
writer.lock                 held by the one process that writes
"""

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from windowtax.base.errors import BadInput
from windowtax.store.disk.index import write_whole

Form = dict[str, Any]
"""What records of one fingerprint are, as plain JSON: for people, and to price them."""


class Folder:
    """One such folder; made, unless it must be there already. Raises BadInput where it cannot be used.

    Only its owner can read it: prompts lie in it as token ids.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self.segments = path / "segments"
        self.index = path / "index"
        # An engine opens its folder in one thread and closes it in its own.
        self._lock = FileLock(str(path / "writer.lock"), timeout=0, thread_local=False)
        if must_exist and not self.segments.is_dir():
            raise BadInput(
                f"{path} is no folder of kept prefixes.", "Give the folder that `--cache-ssd` named, or start a server."
            )
        try:
            for folder in (path, self.segments, path / "forms"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise BadInput(f"{path} cannot be used for kept prefixes: {error.strerror}.", "Give another.") from error

    def lock(self) -> bool:
        """Becomes the one who writes here, until `unlock` or the end of the process. False where somebody else is."""
        try:
            self._lock.acquire()
        except (Timeout, OSError):
            return False
        return True

    def unlock(self) -> None:
        self._lock.release()

    def pins(self) -> frozenset[bytes]:
        """The pinned keys. Lines that are none are left out."""
        try:
            words = (self.path / "pins").read_text(encoding="ascii", errors="replace").split()
        except OSError:
            return frozenset()
        return frozenset(key for word in words if (key := _hex(word)) is not None)

    def pins_version(self) -> tuple[int, int]:
        """Which pins these are, without reading them; a server looks here before it lets anything go.

        The file is replaced whole, so a new one differs by its number even where the clock has not moved on.
        """
        try:
            found = os.stat(self.path / "pins")
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)

    def set_pins(self, keys: frozenset[bytes]) -> None:
        """Pins these and no others. Raises OSError."""
        write_whole(self.path / "pins", "".join(f"{key.hex()}\n" for key in sorted(keys)).encode())

    def forms(self) -> dict[bytes, Form]:
        """By fingerprint, what its records are. Files that cannot be read are left out."""
        found: dict[bytes, Form] = {}
        for path in (self.path / "forms").glob("*.json"):
            key = _hex(path.stem)
            try:
                form = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if key is not None and isinstance(form, dict):
                found[key] = form
        return found

    def set_form(self, fingerprint: bytes, form: Form) -> None:
        """Says what records of a fingerprint are. Raises OSError."""
        text = json.dumps(form, indent=1, sort_keys=True, default=str)
        write_whole(self.path / "forms" / f"{fingerprint.hex()}.json", text.encode())


def _hex(word: str) -> bytes | None:
    try:
        return bytes.fromhex(word)
    except ValueError:
        return None
