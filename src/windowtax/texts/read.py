"""Documents from files, folders, standard input and built-in texts. What is left out is listed, with the reason."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from windowtax.base.errors import BadInput
from windowtax.texts.builtin import PREFIX, read_builtin
from windowtax.texts.decode import Media, NotText, decode, media_of, refuse_binary
from windowtax.texts.html import html_to_text

STDIN = "-"
_HEAD_BYTES = 8192
_ALREADY = "already read"


@dataclass(frozen=True, slots=True)
class Document:
    """One text. name: as given, or the path below a given folder. note: empty, or how its encoding was guessed."""

    name: str
    text: str
    media: Media
    note: str = ""

    @property
    def num_chars(self) -> int:
        """Length of the text in characters (code points, not bytes)."""
        return len(self.text)


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was found and not read."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, in the order of the paths (folders sorted by name), and what was not."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...]


def read_documents(paths: Sequence[str], *, stdin: BinaryIO | None = None) -> Reading:
    """Reads every path: a file, a folder (recursively), "-" for standard input, or builtin:NAME[/PART,...].

    HTML becomes readable text; everything else stays as it is but for line ends, which become "\\n". In folders,
    hidden, binary, empty and unreadable files are skipped and listed; nothing is read twice. stdin: read for "-"
    instead of the process's. Raises BadInput for a named path that is missing, unreadable, empty or not text, and for
    a folder without any text; UnknownName for an unknown built-in text.
    """
    reader = _Reader()
    for path in paths:
        if path == STDIN:
            reader.add_stdin(stdin or sys.stdin.buffer)
        elif path.startswith(PREFIX):
            reader.add_builtin(path)
        else:
            reader.add_path(path)
    return Reading(tuple(reader.documents), tuple(reader.skipped))


def read_bytes(name: str, data: bytes) -> Document:
    """One document from a file's bytes. Raises BadInput where they are no text, or an empty one."""
    what = "Standard input" if name == STDIN else repr(name)
    try:
        document = _document(name, data)
    except NotText as error:
        raise BadInput(
            f"{what} cannot be read as text: {error.message}.",
            "Convert it to text first (a PDF with pdftotext, say).",
        ) from error
    if not document.text.strip():
        raise BadInput(f"{what} holds no text.", "Give a file with something in it.")
    return document


class _Reader:
    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.skipped: list[Skipped] = []
        self._seen: set[str] = set()

    def add_stdin(self, stdin: BinaryIO) -> None:
        if self._is_new(STDIN, STDIN):
            self._add_named(STDIN, stdin.read())

    def add_builtin(self, path: str) -> None:
        if self._is_new(path, path):
            self.documents.append(Document(path, read_builtin(path), "text"))

    def add_path(self, given: str) -> None:
        path = Path(given).expanduser()
        try:
            if path.is_dir():
                self._add_folder(given, path)
            elif not path.exists():
                raise BadInput(f"There is no file or folder {given!r}.", "Check the path; `-` reads standard input.")
            elif self._is_new(given, os.path.realpath(path)):
                self._add_named(given, path.read_bytes())
        except OSError as error:
            reason = error.strerror or str(error)
            raise BadInput(f"{given!r} cannot be read: {reason}.", "Check its permissions.") from error

    def _add_named(self, name: str, data: bytes) -> None:
        self.documents.append(read_bytes(name, data))

    def _add_folder(self, given: str, folder: Path) -> None:
        num_documents, num_skipped = len(self.documents), len(self.skipped)
        entries = sorted(os.listdir(folder), reverse=True)
        self._is_new(given, os.path.realpath(folder))
        pending = [(f"{given.rstrip('/')}/{name}", folder / name) for name in entries]
        while pending:
            name, path = pending.pop()
            try:
                pending.extend(self._visit(name, path))
            except NotText as error:
                self._skip(name, error.message)
            except OSError as error:
                self._skip(name, f"it cannot be read: {error.strerror or error}")
        skipped = self.skipped[num_skipped:]
        if len(self.documents) == num_documents and all(item.reason != _ALREADY for item in skipped):
            shown = "; ".join(f"{item.path}: {item.reason}" for item in skipped[:3])
            more = f" and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
            raise BadInput(
                f"The folder {given!r} holds no text that can be read.",
                f"Skipped: {shown}{more}." if skipped else "It is empty: name another one.",
            )

    def _visit(self, name: str, path: Path) -> list[tuple[str, Path]]:
        """Reads a file found in a folder; of a folder, returns what is in it, last name first."""
        if path.name.startswith("."):
            self._skip(name, "it is hidden")
        elif path.is_dir():
            # Resolved paths, so that a link that leads back up ends here.
            if self._is_new(name, os.path.realpath(path)):
                return [(f"{name}/{entry}", path / entry) for entry in sorted(os.listdir(path), reverse=True)]
        elif not path.exists():
            self._skip(name, "it is a link to nothing")
        elif not path.is_file():
            self._skip(name, "it is no regular file")
        elif self._is_new(name, os.path.realpath(path)):
            document = _document(name, _file_bytes(path))
            if document.text.strip():
                self.documents.append(document)
            else:
                self._skip(name, "it holds no text")
        return []

    def _is_new(self, name: str, identity: str) -> bool:
        if identity in self._seen:
            self._skip(name, _ALREADY)
            return False
        self._seen.add(identity)
        return True

    def _skip(self, name: str, reason: str) -> None:
        self.skipped.append(Skipped(name, reason))


def _file_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        # Before the rest: a folder may hold a model's weights.
        refuse_binary(head)
        return head + file.read()


def _document(name: str, data: bytes) -> Document:
    text, note = decode(data)
    media = media_of(name, text)
    return Document(name, html_to_text(text) if media == "html" else text, media, note)
