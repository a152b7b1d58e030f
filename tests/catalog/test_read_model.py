"""From what a person types to a model: names, aliases, paths, and errors that help."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.catalog.samples import raw
from windowtax.base.errors import BadInput, UnknownName
from windowtax.catalog import read
from windowtax.catalog.read import catalog_entry, model_names, read_model


@pytest.mark.parametrize(
    "typed", ["llama-3.1-8b", "Llama-3.1-8B", "meta-llama/Llama-3.1-8B", "META-LLAMA/llama-3.1-8b"]
)
def test_names_and_aliases_in_any_case(typed: str) -> None:
    assert read_model(typed).name == "llama-3.1-8b"


def test_a_config_its_folder_and_the_name_give_the_same_model(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    shutil.copy(catalog_entry("qwen3-8b").path, folder / "config.json")
    by_folder, by_file = read_model(str(folder)), read_model(str(folder / "config.json"))
    assert by_folder == by_file
    assert by_folder.name == "my-model"
    assert by_folder.layers == read_model("qwen3-8b").layers


def test_a_json_of_another_name_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(raw("qwen3-8b", num_hidden_layers=4)))
    assert (read_model(str(path)).name, len(read_model(str(path)).layers)) == ("changed", 4)


def test_an_unknown_name_names_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="qwen3-8c") as caught:
        read_model("qwen3-8c")
    assert "qwen3-8b" in caught.value.hint
    with pytest.raises(UnknownName, match="qwen3-8c"):
        catalog_entry("qwen3-8c")


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read"), ("[1]", "no JSON object")])
def test_files_that_are_no_config(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_model(str(tmp_path))


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"config\.json"):
        read_model(str(tmp_path))


def test_only_the_file_that_is_asked_for_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = read.read_json
    monkeypatch.setattr(read, "read_json", lambda path: opened.append(path.name) or original(path))
    read_model("gemma-3-4b")
    assert opened == ["gemma-3-4b.json"]


def test_there_are_enough_models() -> None:
    assert len(model_names()) >= 30


@pytest.mark.parametrize("name", model_names())
def test_every_entry_says_where_it_comes_from(name: str) -> None:
    entry = catalog_entry(name)
    assert entry.path.is_file()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry.date)
    for text in (entry.title, entry.source, entry.parameters_source):
        assert len(text.split()) >= 2
    assert entry.total_parameters > 10**8


def test_every_file_beside_the_index_is_in_it() -> None:
    files = {catalog_entry(name).file for name in model_names()}
    assert {path.name for path in catalog_entry("phi-4").path.parent.glob("*.json")} == files


def test_no_alias_means_two_models() -> None:
    words = [word.lower() for name in model_names() for word in (name, *catalog_entry(name).aliases)]
    assert len(words) == len(set(words))
