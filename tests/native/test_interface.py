"""A module that was built from other sources is not used: its calls would fail in the middle, or do something else."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from windowtax.base.errors import BadInput
from windowtax.engine.backend import native_report
from windowtax.ops import native
from windowtax.ops.native import interface_of, native_state

SOURCES = Path(__file__).parents[2] / "native"


@pytest.fixture
def fresh():
    native_state.cache_clear()
    yield
    native_state.cache_clear()


def with_module(monkeypatch: pytest.MonkeyPatch, **has: Any) -> None:
    level = SimpleNamespace(name="portable", built=True, runs=True, why_not="")
    module = SimpleNamespace(levels=lambda: [level], **has)
    monkeypatch.delenv(native.VARIABLE, raising=False)
    monkeypatch.setattr(native.importlib, "import_module", lambda name: module)


@pytest.mark.skipif(native_state().module is None and native_state().why_not != native.STALE, reason="not built")
def test_the_module_that_runs_these_tests_was_built_from_these_sources():
    """Fails after a change of the interface until the module is built again. The name is CMake's on one side."""
    assert native_state().why_not != native.STALE
    module = native_state().module
    assert module is not None and module.interface == interface_of(SOURCES)


@pytest.mark.parametrize("has", [{}, {"interface": "of yesterday"}], ids=["before there was a name", "another"])
def test_a_stale_module_leaves_the_work_to_torch_and_says_why(fresh, monkeypatch, has):
    with_module(monkeypatch, **has)
    assert native_state().module is None and native_state().why_not == native.STALE
    assert "built from other sources; `make run` builds them again" in native_report()["verdict"]


def test_who_asks_for_a_level_is_not_given_torch_instead(fresh, monkeypatch):
    with_module(monkeypatch, interface="of yesterday")
    monkeypatch.setenv(native.VARIABLE, "portable")
    with pytest.raises(BadInput, match="built from other sources"):
        native_state()


def test_a_module_of_these_sources_is_used(fresh, monkeypatch):
    with_module(monkeypatch, interface=interface_of(SOURCES))
    assert native_state().level == "portable"


def test_without_sources_there_is_nothing_to_compare(fresh, monkeypatch, tmp_path):
    with_module(monkeypatch)
    monkeypatch.setattr(native, "_SOURCES", tmp_path)
    assert native_state().level == "portable"


@pytest.mark.parametrize("file", ["src/bind/program.cpp", "src/bind/bind.h", "src/kernels.h", "src/program/linear.h"])
def test_every_file_of_the_interface_counts(tmp_path, file):
    shutil.copytree(SOURCES, tmp_path / "native")
    copy = tmp_path / "native"
    assert interface_of(copy) == interface_of(SOURCES)
    (copy / file).write_text((copy / file).read_text() + "\n")
    assert interface_of(copy) != interface_of(SOURCES)
    assert (copy / "src/bind/new.cpp").write_text("") == 0
    assert len({interface_of(copy), interface_of(SOURCES)}) == 2
