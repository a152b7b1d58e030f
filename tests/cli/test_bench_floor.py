"""`windowtax bench floor`: the record that was kept is shown, and a model's floors beside it."""

import json
import re
from dataclasses import replace

import pytest
from tests.catalog_hardware.test_machine_rates import FULL
from typer.testing import CliRunner

from windowtax.base.errors import WindowtaxError
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
    # From a shared cache and from main memory.
    assert re.search(r"cache in bf16 .* 30\.00 GB/s .* 10\.00 GB/s", shown)
    assert re.search(r"cache in int8 .* 5\.00 GB/s .* 5\.00 GB/s", shown)
    assert "not quiet" not in shown


def test_a_disturbed_measurement_is_said_to_be_one(kept):
    save_machine(replace(FULL, others_share=0.4))
    result = CliRunner().invoke(build(), ["bench", "floor", "--kept"])
    assert "others used 40% of the processors" in " ".join(result.stderr.split())


def test_as_json(kept):
    data = json.loads(CliRunner().invoke(build(), ["bench", "floor", "--kept", "--json"]).stdout)
    assert data["engine"]["product_flops_per_s"][1] == [4e6, 1e11] and data["floors"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--context", "8K"], "--context says nothing without --model"),
        (["--model", "nosuch"], "There is no model called 'nosuch'"),
        (["--model", "smollm2-135m", "--context", "many"], "'many' is not a number of tokens"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windowtax.engine.gauge.measure", lambda: pytest.fail("it measured"))
    error = CliRunner().invoke(build(), ["bench", "floor", *words]).exception
    assert isinstance(error, WindowtaxError) and said in str(error)
