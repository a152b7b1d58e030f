"""Bytes to text: which encoding, whether it is text at all, and which sort of text."""

import codecs
import re
from pathlib import PurePath
from typing import Literal

from windowtax.base.errors import BadInput

Media = Literal["text", "markdown", "html", "source"]

# UTF-32's little-endian mark begins with UTF-16's: it has to be asked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FORMATS = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_MAX_CONTROL_SHARE = 0.01
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_CHARSET_BYTES = 2048

_MARKDOWN = frozenset({".md", ".markdown", ".mdx", ".qmd"})
_HTML = frozenset({".html", ".htm", ".xhtml"})
_SOURCE_SUFFIXES = """
.py .pyi .pyx .ipynb .c .h .cc .cpp .cxx .hh .hpp .cu .cuh .rs .go .java .kt .scala .swift .m .mm .cs .fs .vb .js .mjs
.cjs .jsx .ts .tsx .vue .css .scss .php .rb .pl .pm .lua .r .jl .hs .ml .mli .ex .exs .erl .clj .lisp .el .scm .dart
.zig .nim .sh .bash .zsh .fish .ps1 .bat .sql .proto .cmake .json .jsonl .yaml .yml .toml .ini .cfg .xml .tf .v .sv .vhd
.asm .s .f90 .tex
"""
_SOURCE = frozenset(_SOURCE_SUFFIXES.split())
_SOURCE_NAMES = frozenset({"makefile", "dockerfile", "cmakelists.txt", "gnumakefile", "justfile"})


class NotText(BadInput):
    """Bytes that are no text; the message says what they seem to be."""


def decode(data: bytes) -> tuple[str, str]:
    """(text, note): the note is empty unless the encoding had to be guessed. Line ends become "\\n". Raises NotText."""
    refuse_binary(data)
    text, note = _decode(data)
    return text.replace("\r\n", "\n").replace("\r", "\n"), note


def refuse_binary(data: bytes) -> None:
    """Raises NotText for bytes (the first of a file are enough) that a known format begins with, or that hold a NUL."""
    if _mark(data):
        return
    for magic, what in _FORMATS:
        if data.startswith(magic):
            raise NotText(f"it is {what}, not text")
    if b"\0" in data:
        raise NotText("it is binary (it holds NUL bytes)")


def media_of(name: str, text: str) -> Media:
    """The sort of text, by the name's ending; a name without one is looked into for HTML."""
    path = PurePath(name)
    suffix = path.suffix.lower()
    if suffix in _HTML or (not suffix and re.match(r"\s*<(!doctype html|html)\b", text, re.IGNORECASE)):
        return "html"
    if suffix in _MARKDOWN:
        return "markdown"
    return "source" if suffix in _SOURCE or path.name.lower() in _SOURCE_NAMES else "text"


def _mark(data: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "")


def _decode(data: bytes) -> tuple[str, str]:
    encoding = _mark(data)
    try:
        return data.decode(encoding or "utf-8"), ""
    except UnicodeDecodeError as error:
        if encoding:
            raise NotText(f"it begins as {encoding} but is not: {error.reason}") from error
    declared = _CHARSET.search(data[:_CHARSET_BYTES])
    names = [declared.group(1).decode("ascii")] if declared else []
    for name in [*names, "cp1252", "latin-1"]:
        try:
            text = data.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
        if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text):
            break
        return text, f"not UTF-8; read as {name}{', as the page declares' if name in names else ''}"
    raise NotText("it seems to be binary (it is not UTF-8 and holds control characters)")
