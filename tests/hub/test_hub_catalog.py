"""The catalog of models that can be pulled: complete, exact, and strict about what it reads."""

from pathlib import Path

import pytest

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.hub.catalog import SOURCES, ModelSource, find_source, model_sources, read_source


@pytest.mark.parametrize("source", model_sources().values(), ids=lambda source: source.name)
def test_every_source_is_complete(source: ModelSource) -> None:
    assert source.title and source.ability and source.licence.name and source.licence.url.startswith("https://")
    assert source.file.endswith(".gguf") and "/" not in source.file
    assert source.context_tokens % 1024 == 0
    assert sum(part.size_bytes for part in source.wheels) == source.size_bytes
    assert len({part.package for part in source.wheels}) == len(source.wheels)
    assert source.hub is not None and source.hub.repo.count("/") == 1


def test_facts_of_the_sources_carry_their_date() -> None:
    for path in SOURCES.glob("*.toml"):
        assert path.read_text(encoding="utf-8").startswith("# Sizes and hashes: computed from the wheel"), path.name


def test_one_wheel_means_one_hash() -> None:
    source = model_sources()["smollm2-135m"]
    assert [part.sha256 for part in source.wheels] == [source.sha256]


def test_an_unknown_name_gets_near_names() -> None:
    with pytest.raises(UnknownName) as caught:
        find_source("smollm-135m", model_sources())
    assert "smollm2-135m" in caught.value.hint.split("?")[0]
    with pytest.raises(UnknownName, match="There are: gemma-3-270m"):
        find_source("zzz", model_sources())


def test_a_name_is_found_in_any_case() -> None:
    assert find_source("Qwen2.5-Coder-0.5B", model_sources()).name == "qwen2.5-coder-0.5b"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = (SOURCES / "smollm2-135m.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "changed.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="colour"):
        read_source(changed(tmp_path, "[licence]", "[licence]\ncolour = 'red'"))


def test_a_sum_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="98,362,432 bytes, but the file has 98,362,433"):
        read_source(changed(tmp_path, "98_362_432", "98_362_433"))


@pytest.mark.parametrize("sha256", ["", "B179", "b179"])
def test_a_hash_that_is_none_is_refused(tmp_path: Path, sha256: str) -> None:
    full = model_sources()["smollm2-135m"].sha256
    with pytest.raises(BadInput, match="SHA-256"):
        read_source(changed(tmp_path, full, sha256))
