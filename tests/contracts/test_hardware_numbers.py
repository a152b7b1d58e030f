"""The hardware catalog. Law 8: every number has a unit, a source and a date."""

import re
from pathlib import Path

import pytest

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.base.sourced import Sourced
from windowtax.catalog.hardware_catalog import FOLDER, hardware, hardware_names, read_hardware

DEVICES = [name for name in hardware_names() if name != "this-machine"]

WANTED = {
    "a100-80gb-sxm", "h100-sxm", "h100-pcie", "h200-sxm", "b200-sxm", "mi300x", "l40s", "l4", "rtx-pro-6000",
    "tpu-v5e", "tpu-v5p", "tpu-v6e", "cpu-generic",
}  # fmt: skip


def figures(device):
    for value in (getattr(device, name) for name in type(device).__dataclass_fields__):
        if isinstance(value, Sourced):
            yield value
        elif isinstance(value, dict):
            yield from value.values()


def test_all_wanted_devices_are_there():
    assert set(DEVICES) >= WANTED


@pytest.mark.parametrize("name", DEVICES)
def test_every_figure_is_sourced_and_plausible(name):
    device = hardware(name)
    for figure in figures(device):
        assert figure.value > 0 and figure.unit and figure.source
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", figure.date)
    assert device.peak_flops_per_s.keys() == device.compute_efficiency.keys()
    for share in (device.usable_memory, device.bandwidth_efficiency, *device.compute_efficiency.values()):
        assert share.unit == "fraction" and share.value <= 1
    assert device.compute_element("int4") in device.peak_flops_per_s


# facts/prices-and-recall.md, section 1d: bandwidth TB/s, bf16 TFLOP/s, memory bytes, USD per hour
FACTS = {
    "a100-80gb-sxm": (2.039, 312, 80 * 2**30, 1.39),
    "h100-sxm": (3.35, 989, 80 * 2**30, 2.95),
    "h200-sxm": (4.8, 989, 141 * 10**9, 3.50),
    "b200-sxm": (7.7, 2250, 180 * 2**30, 5.50),
    "mi300x": (5.3, 1307, 192 * 10**9, 1.99),
    "tpu-v5p": (2.8, 459, 95 * 10**9, 4.20),
}


@pytest.mark.parametrize("name", FACTS)
def test_figures_of_the_facts_table(name):
    device, (bandwidth, bf16, memory, price) = hardware(name), FACTS[name]
    assert device.read_bytes_per_s.value == pytest.approx(bandwidth * 1e12)
    assert device.peak_flops_per_s["bf16"].value == pytest.approx(bf16 * 1e12)
    assert device.memory_bytes.value == memory
    assert device.usd_per_hour.value == price


def test_aliases_and_near_names():
    assert hardware("h100") is hardware("H100-SXM")
    with pytest.raises(UnknownName, match="h100"):
        hardware("h1000")


def test_unknown_elements_are_computed_wider_or_refused():
    assert hardware("a100").compute_element("fp8") == "bf16"
    with pytest.raises(BadInput, match="no FLOP rate is known for fp32"):
        hardware("h100").compute_element("fp32")


def test_prices_can_be_stated():
    priced = hardware("h100").priced(1.5, "2026-11-22")
    assert priced.usd_per_hour.value == 1.5 and str(priced.usd_per_hour.basis) == "assumed"
    with pytest.raises(BadInput):
        hardware("h100").priced(-1, "2026-11-22")


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = (FOLDER / "h100-sxm.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ('unit = "TB/s"', 'unit = "GiB"', BadInput, "unit 'GiB'"),
        (
            'value = 3.35, unit = "TB/s", source = "spec"',
            'value = 3.35, unit = "TB/s"',
            BadInput,
            "'source' is missing",
        ),
        ('unit = "TB/s", source = "spec"', 'unit = "TB/s", source = "nobody"', BadInput, "no source called 'nobody'"),
        ("[price]", "[colour]\nred = 1\n[price]", UnsupportedModel, "colour"),
        ('date = "2026-11-21"', "", BadInput, "'date' is missing"),
    ],
)
def test_a_figure_without_unit_source_or_date_is_an_error(tmp_path, old, new, error, says):
    with pytest.raises(error, match=says):
        read_hardware(edited(tmp_path, old, new))
