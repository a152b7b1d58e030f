"""Single kernels: a tiny run of all of them, and the tables that come of it."""

import json
from typing import Any

import pytest
from benchmarks.kernels import report, run
from benchmarks.kernels.figures import Heads, Sizes

from tests.native.harness import native
from windowtax.base.errors import BadInput
from windowtax.ops.native import NativeState

TINY = Sizes(
    heads=(Heads(query=3, kv=1, size=64), Heads(query=2, kv=2, size=128)),
    dtypes=("bf16", "k4v4"),
    near_tokens=64,
    far_tokens=256,
    layers=2,
    matrices=((64, 96),),
    rows=80,
    prefix=64,
    rounds=1,
    burst=4,
)
IDLE = {
    "date": "2026-01-02", "others_percent": 1.0, "gauge": {"read_bytes_per_s": 2e10, "bf16_flops_per_s": 4e12},
}  # fmt: skip


@native
def test_the_report_of_a_tiny_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "on_idle_machine", lambda: dict(IDLE))
    found: dict[str, Any] = json.loads(json.dumps(run.run(TINY)))
    assert all(0 < one["rate"] < 1e14 for one in found["figures"])
    # Keys and values of 64 numbers in two bytes; in four bits with the scales of both: a third or less.
    sizes = {(one["dtype"], one["near"]): one["bytes"] for one in found["figures"] if one["part"] == "decode"}
    assert sizes["bf16", True] == 64 * 2 * 64 * 2 and sizes["bf16", False] == 2 * 256 * 2 * 64 * 2
    assert sizes["k4v4", False] < sizes["bf16", False] / 2
    text = report.tables(found)
    assert "gauge 20.0 GB/s read, 4.0 TFLOP/s" in text
    for begins, columns in (("bf16", 9), ("k4v4", 9), ("64 x 96, q4", 4), ("64 x 96, bf16", 4)):
        assert len(cells(text, begins)) == columns
    assert cells(text, "3 / 1 heads of 64, 80 tokens behind 64")[-1].endswith("%")


def test_a_share_is_of_what_was_measured_beside_it() -> None:
    decode = [
        {"part": "decode", "dtype": "bf16", "near": near, "bytes": 1 << 20, "rate": rate, "stream": 4e10}
        for near, rate in ((True, 3e10), (False, 1e10))
    ]
    products = {"part": "products", "matrix": "64 x 96", "weights": "Q4", "rate": 1e12, "peak": 8e12}
    text = report.tables(IDLE | {"cpu": "a", "threads": 2, "level": "amx", "figures": [*decode, products]})
    assert cells(text, "bf16") == ["bf16", "1.00 MiB", "30.0", "40.0", "75%", "1.00 MiB", "10.0", "40.0", "25%"]
    assert cells(text, "64 x 96, q4") == ["64 x 96, q4", "1.00", "8.00", "12%"]


def test_without_native_kernels_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "native_state", lambda: NativeState(None, "", "switched off"))
    with pytest.raises(BadInput, match="switched off"):
        run.run(TINY)


def cells(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [part.strip() for part in line.strip("|").split("|")]
