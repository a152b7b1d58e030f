"""The real pip on a wheel in a folder, without an index; and children that fail, stall or are interrupted."""

import sys
import time
import zipfile
from pathlib import Path

import pytest

from windowtax.base.errors import FetchFailed
from windowtax.hub import pip
from windowtax.hub.child import folder_bytes, run_watched


@pytest.fixture
def offline_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinywheel-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinywheel/data.bin", b"0123456789" * 1000)
        archive.writestr("tinywheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinywheel\nVersion: 1.0\n")
        archive.writestr(
            "tinywheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinywheel-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_BINARY", ":all:")
    return folder


def test_pip_fetches_the_wheel_whatever_its_configuration_says(offline_index: Path, tmp_path: Path) -> None:
    wheel = pip.download_wheel("tinywheel", "1.0", tmp_path / "work", lambda num_bytes: None)
    assert zipfile.ZipFile(wheel).testzip() is None
    assert wheel.is_relative_to(tmp_path / "work")


def test_what_pip_says_is_told_when_it_fails(offline_index: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"(?s)ended with code 1.*No matching distribution found for tinywheel==2.0"):
        pip.download_wheel("tinywheel", "2.0", tmp_path / "work", lambda num_bytes: None)


def test_source_archives_are_never_built(offline_index: Path, tmp_path: Path) -> None:
    (offline_index / "tinywheel-1.0-py3-none-any.whl").rename(offline_index / "tinywheel-1.0.zip")
    with pytest.raises(FetchFailed, match="No matching distribution"):
        pip.download_wheel("tinywheel", "1.0", tmp_path / "work", lambda num_bytes: None)


def test_other_pips_are_used_where_this_python_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"pip": "/usr/bin/pip", "uv": "/usr/bin/uv"}
    monkeypatch.setattr(pip.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pip.shutil, "which", there.get)
    assert pip.pip_command() == ["/usr/bin/pip"]
    del there["pip"]
    assert pip.pip_command() == ["/usr/bin/uv", "tool", "run", "pip"]
    del there["uv"]
    with pytest.raises(FetchFailed, match="ensurepip"):
        pip.pip_command()


def test_bytes_are_counted_while_a_child_writes(tmp_path: Path) -> None:
    seen: list[int] = []
    script = f"import time; f = open({str(tmp_path / 'x')!r}, 'wb'); f.write(b'x' * 5000); f.flush(); time.sleep(0.6)"
    run_watched([sys.executable, "-c", script], tmp_path, seen.append)
    assert 5000 in seen and folder_bytes(tmp_path) == 5000


def test_a_child_that_stalls_is_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(FetchFailed, match=r"Nothing arrived for 0\.5 s"):
        run_watched([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, lambda n: None, stall_s=0.5)
    assert time.monotonic() - started < 20


def test_an_interrupt_ends_the_child(tmp_path: Path) -> None:
    def interrupt(num_bytes: int) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_watched([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, interrupt)
    assert time.monotonic() - started < 20


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="could not be started"):
        run_watched([str(tmp_path / "nothing")], tmp_path, lambda n: None)
