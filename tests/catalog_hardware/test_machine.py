"""This machine: what was measured is written, read back, and becomes hardware."""

import json

import pytest

from windowtax.base.errors import BadInput
from windowtax.catalog import hardware_catalog, machine
from windowtax.catalog.machine import MachineRecord, load_machine, load_record, save_machine

RECORD = MachineRecord(
    cpu="Test CPU",
    threads=2,
    memory_bytes=16 * 10**9,
    read_bytes_per_s=2e10,
    peak_flops_per_s={"fp32": 1e11, "bf16": 2e11},
    measured_on="2026-11-22",
    method="read 1 GiB ten times, the best",
)


def test_round_trip(tmp_path):
    assert load_machine(tmp_path) is None
    path = save_machine(RECORD, tmp_path)
    assert path == tmp_path / "machine.json"
    assert load_record(tmp_path) == RECORD
    device = load_machine(tmp_path)
    assert device.read_bytes_per_s.value == 2e10 and str(device.read_bytes_per_s.basis) == "measured"
    assert device.bandwidth_efficiency.value == device.compute_efficiency["bf16"].value == 1
    assert device.layer_overhead_s.value == 0 and device.node_size == 1
    # 2 threads x 0.016 + 16 GB x 0.0022
    assert device.usd_per_hour.value == pytest.approx(0.0672) and str(device.usd_per_hour.basis) == "assumed"


def test_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    with pytest.raises(BadInput, match="windowtax bench floor"):
        hardware_catalog.hardware("this-machine")
    save_machine(RECORD)
    assert hardware_catalog.hardware("this-machine").title == "this machine (Test CPU, 2 threads)"


@pytest.mark.parametrize(
    "damage", ["{", "[]", json.dumps({"cpu": "x"}), None], ids=["cut off", "a list", "keys missing", "zero rate"]
)
def test_a_damaged_file_says_what_to_do(tmp_path, damage):
    path = save_machine(RECORD, tmp_path)
    data = json.loads(path.read_text())
    path.write_text(damage if damage is not None else json.dumps({**data, "read_bytes_per_s": 0}))
    with pytest.raises(BadInput, match="windowtax bench floor"):
        load_machine(tmp_path)
