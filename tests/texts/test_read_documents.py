"""Reading files, folders and standard input: encodings, what is skipped, what is refused."""

import io
import os
import sys
from pathlib import Path

import pytest

from windowtax.base.errors import BadInput
from windowtax.texts.read import Document, Reading, Skipped, read_documents


def write(folder: Path, name: str, data: bytes | str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return str(path)


def one(reading: Reading) -> Document:
    assert len(reading.documents) == 1 and not reading.skipped
    return reading.documents[0]


@pytest.mark.parametrize(
    ("data", "text", "note"),
    [
        ("grüße €".encode(), "grüße €", ""),
        (b"\xef\xbb\xbf" + "grüße".encode(), "grüße", ""),
        ("grüße €".encode("utf-16"), "grüße €", ""),
        (b"\xfe\xff" + "grüße".encode("utf-16-be"), "grüße", ""),
        ("grüße".encode("utf-32"), "grüße", ""),
        ("grüße €".encode("cp1252"), "grüße €", "not UTF-8; read as cp1252"),
        (b"gr\xfc\x81e", "grü\x81e", "not UTF-8; read as latin-1"),
        (b"a\r\nb\rc\n", "a\nb\nc\n", ""),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, text: str, note: str) -> None:
    document = one(read_documents([write(tmp_path, "a.txt", data)]))
    assert (document.text, document.note, document.num_chars, document.media) == (text, note, len(text), "text")


def test_an_html_page_may_declare_its_encoding(tmp_path: Path) -> None:
    page = '<meta charset="koi8-r"><p>привет</p>'
    document = one(read_documents([write(tmp_path, "a.html", page.encode("koi8-r"))]))
    assert (document.text, document.note) == ("привет", "not UTF-8; read as koi8-r, as the page declares")


@pytest.mark.parametrize("charset", ["zlib", "no-such-thing", "rot13", "utf-8"])
def test_a_declared_encoding_that_is_none(tmp_path: Path, charset: str) -> None:
    page = f"<meta http-equiv=x content='text/html; charset={charset}'><p>gr\u00fc\u00dfe</p>".encode("latin-1")
    assert one(read_documents([write(tmp_path, "a.html", page)])).text == "grüße"


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("a.md", "markdown"),
        ("a.py", "source"),
        ("Makefile", "source"),
        ("a.HTM", "html"),
        ("a", "text"),
        ("a.x", "text"),
    ],
)
def test_the_sort_of_text(tmp_path: Path, name: str, media: str) -> None:
    assert one(read_documents([write(tmp_path, name, "x <b>y</b>")])).media == media


def test_markdown_and_source_stay_as_they_are(tmp_path: Path) -> None:
    text = "# T\n\n<b>x</b>  &amp;\n\n\n\tcode  \n"
    for name in ("a.md", "a.py", "a.txt"):
        assert one(read_documents([write(tmp_path, name, text)])).text == text


def test_a_page_without_an_ending_in_its_name_is_known_by_its_beginning(tmp_path: Path) -> None:
    page = "\n<!DOCTYPE html><p>x</p>"
    assert one(read_documents([write(tmp_path, "page", page)])).text == "x"
    assert one(read_documents(["-"], stdin=io.BytesIO(page.encode()))).media == "html"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"abc\0def", "NUL"),
        (b"x" * 10_000 + b"\0", "NUL"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04 whatever", "a ZIP archive"),
        (b"\xff\xfea", "begins as utf-16 but is not"),
        (bytes(range(1, 256)) * 4, "seems to be binary"),
        (b"", "holds no text"),
        (b" \n", "holds no text"),
    ],
)
def test_a_named_file_that_is_no_text_is_an_error(tmp_path: Path, data: bytes, reason: str) -> None:
    path = write(tmp_path, "a.txt", data)
    with pytest.raises(BadInput, match=reason) as caught:
        read_documents([path])
    assert repr(path) in caught.value.message and caught.value.hint


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no file or folder"):
        read_documents([str(tmp_path / "nothing")])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "x")
    os.chmod(path, 0)
    with pytest.raises(BadInput, match="cannot be read"):
        read_documents([path])


def test_a_file_that_fails_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a/good.txt", "x")
    bad = write(tmp_path, "a/bad.txt", "x")
    real_open, real_bytes = Path.open, Path.read_bytes

    def refuse(path: Path, call: object, *args: object) -> object:
        if path.name == "bad.txt":
            raise PermissionError(13, "Permission denied")
        return call(path, *args)  # type: ignore[operator]

    monkeypatch.setattr(Path, "open", lambda path, *args: refuse(path, real_open, *args))
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path, real_bytes))
    with pytest.raises(BadInput, match=r"bad\.txt' cannot be read: Permission denied"):
        read_documents([bad])
    reading = read_documents([str(tmp_path / "a")])
    assert [document.name for document in reading.documents] == [f"{tmp_path}/a/good.txt"]
    assert reading.skipped == (Skipped(f"{tmp_path}/a/bad.txt", "it cannot be read: Permission denied"),)


def test_a_folder_is_read_sorted_and_what_is_skipped_is_told(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.py", "a/b/c.txt", "c.txt"):
        write(tmp_path, name, name)
    write(tmp_path, "a/weights.gguf", b"GGUF" + b"\0" * 20_000)
    write(tmp_path, "a/data.bin", b"\0\1\2")
    write(tmp_path, "empty.txt", "")
    write(tmp_path, ".hidden/x.txt", "x")
    write(tmp_path, ".secret", "x")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    reading = read_documents([f"{tmp_path}/"])
    assert [document.name.removeprefix(f"{tmp_path}/") for document in reading.documents] == [
        "a/b/c.txt",
        "a/z.py",
        "b.md",
        "c.txt",
    ]
    assert {(item.path.removeprefix(f"{tmp_path}/"), item.reason) for item in reading.skipped} == {
        ("a/data.bin", "it is binary (it holds NUL bytes)"),
        ("a/weights.gguf", "it is a GGUF model, not text"),
        ("empty.txt", "it holds no text"),
        (".hidden", "it is hidden"),
        (".secret", "it is hidden"),
        ("gone", "it is a link to nothing"),
    }


def test_links_that_lead_back_up_end(tmp_path: Path) -> None:
    write(tmp_path, "top/sub/a.txt", "x")
    (tmp_path / "top/sub/up").symlink_to(tmp_path / "top", target_is_directory=True)
    (tmp_path / "top/sub/self").symlink_to(tmp_path / "top/sub/self")
    (tmp_path / "other").mkdir()
    write(tmp_path, "other/b.txt", "y")
    (tmp_path / "top/link").symlink_to(tmp_path / "other", target_is_directory=True)
    reading = read_documents([str(tmp_path / "top")])
    assert [document.text for document in reading.documents] == ["y", "x"]
    reasons = {Path(item.path).name: item.reason for item in reading.skipped}
    assert reasons["up"] == "already read" and "self" in reasons


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_a_folder_does_not_block(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "x")
    os.mkfifo(tmp_path / "pipe")
    reading = read_documents([str(tmp_path)])
    assert [item.reason for item in reading.skipped] == ["it is no regular file"]


def test_nothing_is_read_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "x")
    reading = read_documents([path, str(tmp_path), "-", "-"], stdin=io.BytesIO(b"from stdin"))
    assert [document.text for document in reading.documents] == ["x", "from stdin"]
    assert reading.skipped == (Skipped(path, "already read"), Skipped("-", "already read"))


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="It is empty"):
        read_documents([str(tmp_path / "empty")])
    for number in range(5):
        write(tmp_path, f"binary/{number}.bin", b"\0")
    with pytest.raises(BadInput, match=r"0\.bin: it is binary .* and 2 more"):
        read_documents([str(tmp_path / "binary")])


def test_standard_input_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"typed")))
    assert one(read_documents(["-"])) == Document("-", "typed", "text")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(BadInput, match="Standard input holds no text"):
        read_documents(["-"])


def test_no_paths_no_documents() -> None:
    assert read_documents([]) == Reading((), ())
