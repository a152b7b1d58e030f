"""Sweeps, their bars and their pictures."""

import struct

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B
from windowtax.base.errors import BadInput
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.chart import sweep_chart, write_chart
from windowtax.plan.plan import PlanOptions
from windowtax.plan.sweep import bar, parse_contexts, sweep
from windowtax.spec.workload import Workload

CONTEXTS = parse_contexts("4K..1M")


def swept(spec=LLAMA_8B, contexts=CONTEXTS, users=1, **options):
    workload = Workload(context_tokens=contexts[-1], users=users)
    return sweep(spec, hardware("h100"), workload, contexts, PlanOptions(**options))


def test_ranges_double_and_keep_their_end():
    assert [4096 * 2**power for power in range(9)] == CONTEXTS
    assert parse_contexts("4K..20K") == [4096, 8192, 16_384, 20_480]
    assert parse_contexts("32K, 8K,32768") == [8192, 32_768]


@pytest.mark.parametrize("text", ["", "1M..4K", "4K..x", ",", "1..2..3"])
def test_nonsense_is_refused(text):
    with pytest.raises(BadInput):
        parse_contexts(text)


def test_longer_windows_never_cost_less():
    """On a fixed deployment: bytes, seconds and dollars of a call rise with the window."""
    plans = swept(users=2, accelerators=8)
    for figure in (
        lambda plan: plan.layout.bytes_for(plan.workload.context_tokens),
        lambda plan: plan.times.ttft.overlap_s,
        lambda plan: plan.times.tpot.overlap_s,
        lambda plan: plan.costs.bill.total_usd,
        lambda plan: -plan.fit.most_users,
    ):
        values = [figure(plan) for plan in plans]
        assert values == sorted(values)


def test_left_free_it_takes_more_accelerators_as_it_must():
    counts = [plan.fit.deployment.accelerators for plan in swept(LLAMA_70B)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_bars_are_in_proportion():
    assert bar(8, 8, 10) == "█" * 10
    assert bar(4, 8, 10) == "█" * 5
    assert bar(4.1, 8, 10) == "█" * 5 + "▏"
    assert bar(0.001, 8, 10) == "▏"
    assert bar(0, 8, 10) == ""


@pytest.mark.parametrize("suffix", [".svg", ".png", ".html"])
def test_pictures_are_written_offline(tmp_path, suffix, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    path = tmp_path / f"sweep{suffix}"
    write_chart(swept(users=4), path)
    data = path.read_bytes()
    if suffix == ".png":
        width, height = struct.unpack(">II", data[16:24])
        assert data[:4] == b"\x89PNG" and width > 1200 and height > 800
        return
    text = data.decode()
    assert "what a context window costs" in text and "128K" in text
    assert "<script src=" not in text
    if suffix == ".svg":
        assert text.startswith("<svg") and "cache, 4 users" in text and "milliseconds" in text


def test_a_chart_of_what_partly_does_not_fit_still_draws():
    plans = swept(GEMMA_LIKE, [4096, 2**33], accelerators=1)
    assert plans[0].times and not plans[1].times
    assert sweep_chart(plans)["concat"]


def test_other_files_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(BadInput, match="svg"):
        write_chart(swept(), tmp_path / "x.gif")
    with pytest.raises(BadInput, match="folder"):
        write_chart(swept(), tmp_path / "no" / "x.svg")
