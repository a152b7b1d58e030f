"""Law 8, for every other data file: each says where its numbers come from, and the day that was checked."""

import re
import tomllib
from pathlib import Path

import pytest

CATALOG = Path(__file__).parents[2] / "src" / "windowtax" / "catalog"
FILES = sorted(path for folder in ("models", "prices", "xray") for path in (CATALOG / folder).glob("*.toml"))
DATE = re.compile(r"20\d\d-\d\d(-\d\d)?")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_data_file_names_sources_and_dates(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text)
    assert re.search(r"source|https?://|why\s*=", text), "no source is named"
    assert DATE.search(text), "no date is given"


def test_every_model_of_the_index_is_sourced_and_dated() -> None:
    index = tomllib.loads((CATALOG / "models" / "index.toml").read_text(encoding="utf-8"))
    for name, entry in index.items():
        assert entry["source"] and entry["parameters_source"], name
        assert DATE.fullmatch(str(entry["date"])), name
        assert (CATALOG / "models" / entry["file"]).is_file(), name
    listed = {entry["file"] for entry in index.values()}
    assert {path.name for path in (CATALOG / "models").glob("*.json")} == listed, "a config nobody lists"
