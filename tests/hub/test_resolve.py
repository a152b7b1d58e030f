"""What a user's word for a model stands for; and the real thing."""

from pathlib import Path

import pytest
from tiny_model import WHOLE, FakeIndex

from windowtax.base.errors import BadInput, FetchFailed, UnknownName
from windowtax.hub import fetch
from windowtax.hub.shelf import Shelf


def test_paths_are_returned_as_they_are(tmp_path: Path, shelf: Shelf) -> None:
    file = tmp_path / "some.gguf"
    file.write_bytes(b"GGUF")
    assert fetch.resolve(str(file), on=shelf) == file
    assert fetch.resolve(str(tmp_path), on=shelf) == tmp_path


def test_a_name_is_found_or_pulled(shelf: Shelf, index: FakeIndex) -> None:
    with pytest.raises(FetchFailed, match="windowtax models pull tiny"):
        fetch.resolve("tiny", fetch=False, on=shelf)
    assert index.fetched == []
    assert fetch.resolve("tiny", on=shelf).read_bytes() == WHOLE
    assert fetch.resolve("tiny", fetch=False, on=shelf) == shelf.place("tiny")


@pytest.mark.parametrize("word", ["./nothing.gguf", "no/such/folder", "nothing.gguf", "C:\\models\\x"])
def test_a_path_that_does_not_exist_is_called_that(word: str, shelf: Shelf) -> None:
    with pytest.raises(BadInput, match="There is no file or folder"):
        fetch.resolve(word, on=shelf)


@pytest.mark.parametrize("word", ["tinny", ""])
def test_an_unknown_name(word: str, shelf: Shelf) -> None:
    with pytest.raises(UnknownName, match="There are: tiny"):
        fetch.resolve(word, on=shelf)


def test_the_module_calls_look_at_the_given_folder(tmp_path: Path) -> None:
    assert fetch.path("smollm2-135m", folder=tmp_path) is None
    with pytest.raises(FetchFailed):
        fetch.verify("smollm2-135m", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_the_real_smollm2_is_what_was_pinned() -> None:
    path = fetch.pull("smollm2-135m")
    assert path == fetch.verify("smollm2-135m") == fetch.resolve("smollm2-135m", fetch=False)
    with path.open("rb") as file:
        assert file.read(4) == b"GGUF"
