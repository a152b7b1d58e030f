"""`windowtax bench floor`: the record that was kept is shown, and a model's floors beside it."""

import json

import pytest
from tests.catalog_hardware.test_machine_rates import FULL
from typer.testing import CliRunner

from windowtax.catalog import machine
from windowtax.catalog.machine import save_machine
from windowtax.cli.main import build


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    save_machine(FULL)
    return tmp_path


def test_what_was_kept_is_shown(kept):
    shown = CliRunner().invoke(build(), ["bench", "floor", "--kept"]).stdout
    assert "20.00 GB/s" in shown and "90.00 GB/s" in shown  # main memory; 1 MiB by two threads
    assert "decode, cache in int8" in shown and "5.00 GB/s" in shown


def test_as_json(kept):
    data = json.loads(CliRunner().invoke(build(), ["bench", "floor", "--kept", "--json"]).stdout)
    assert data["engine"]["product_flops_per_s"] == 1e11 and data["floors"] == []
