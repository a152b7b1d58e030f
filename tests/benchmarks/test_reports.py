"""The tables of the serving, tiers and speculation benchmarks, and what is kept between runs."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks.kit import page, runs
from benchmarks.kit.pages import cached_bytes, drop
from benchmarks.kit.pieces import Kept
from benchmarks.serving import report as serving
from benchmarks.speculation import cells as guessing
from benchmarks.speculation import report as speculation
from benchmarks.speculation.questions import questions
from benchmarks.tiers import report as tiers
from benchmarks.tiers.cells import RULE_LENGTHS, SMOL, SOURCES, K, Piece

MACHINE = {
    "date": "2026-01-02", "gauge": {"read_bytes_per_s": 2e10, "bf16_flops_per_s": 4e12}, "start_s": 2.0,
    "others_percent": 1.0,
}  # fmt: skip


def cell(rate: float) -> dict[str, Any]:
    return {
        "prompt_tokens": 1000, "cached_tokens": 500, "output_tokens_per_s": rate, "total_tokens_per_s": 10 * rate,
        "ttft_s": 1 / rate, "tpot_s": 2 / rate,
    }  # fmt: skip


def row(text: str, name: str) -> list[str]:
    """The cells of the first row of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [part.strip() for part in line.strip("|").split("|")]


def test_serving_ratios_are_of_medians_and_weak_ones_stand_out() -> None:
    rounds = {
        "stored shared": [MACHINE | {"cells": {"4": cell(rate)}} for rate in (90.0, 100.0, 300.0)],
        "llama shared": [MACHINE | {"cells": {"4": cell(50.0)}}],
        "full shared": [MACHINE | {"cells": {"4": cell(40.0)}}],
        "vllm shared": [MACHINE | {"cells": {"4": cell(80.0)}}],
    }
    for found in rounds.values():
        for one in found:
            one["cells"] |= dict.fromkeys(("1", "8", "16"), one["cells"]["4"])
    text = serving.tables(rounds)
    assert row(text, "4") == ["4", "100", "50.0", "40.0", "80.0", "2.00", "**0.50**"]
    ttft = text.split("TTFT, ms")[1]
    assert row(ttft, "4") == ["4", "10.0", "20.0", "25.0", "12.5", "2.00", "**0.50**"]


def test_serving_repeated_prefixes_count_what_restoring_took() -> None:
    again = {"ttft_s": [4.0, 0.3, 0.1, 0.2]}
    cells = {"2048": again, "7168": again}
    rounds = {
        "stored repeated": [MACHINE | {"cells": cells, "again": {size: {"ttft_s": [0.5]} for size in cells}}],
        "llama repeated": [
            MACHINE | {"cells": cells, "again": {size: {"ttft_s": [0.5], "restore_s": 0.25} for size in cells}}
        ],
    }
    text = serving.tables(rounds)
    assert row(text, "2K, first")[1:3] == ["4,000", "4,000"]
    assert row(text, "7K, again")[1:3] == ["200", "200"]
    assert row(text, "7K, after a restart")[1:3] == ["500", "750"]
    assert row(text, "7K, after a restart")[5] == "1.50"


def test_tiers_tables() -> None:
    piece, ruled = Piece(SMOL, 8 * K, "bf16"), Piece(SMOL, 8 * K, "bf16", rule=True)
    times = dict(zip(SOURCES, (2.0, 0.1, 0.2, 0.3, 0.6), strict=True))
    one: dict[str, Any] = {source: [{"ttft_s": seconds}] for source, seconds in times.items()}
    one |= {"bytes_per_token": 23040, "own_direct_bytes_per_s": None, "own_dropped_bytes_per_s": 1e9}
    one |= {"own_cached_bytes_per_s": 5e9}
    choices = [
        {"tokens": tokens, "link_bytes_per_s": 5e7, "compute": {"ttft_s": 1.0}, "load": {"ttft_s": 2.0},
         "chosen": {"ttft_s": 1.1}, "loaded": False}
        for tokens in RULE_LENGTHS
    ]  # fmt: skip
    text = tiers.tables({piece.key: [MACHINE | one], ruled.key: [MACHINE | {"choices": choices}]})
    assert row(text, piece.key)[1:] == ["2,000", "100", "200", "300", "600", "70.0%", "90.0%", "95.0%"]
    read = row(text.split("### What comes")[1], piece.key)
    size = 23040 * 8 * K
    assert read[1:6] == ["23,040", "189", f"{size / 0.5e9:.2f}", "refused", "1.00"]
    assert read[-1] == f"{size / 1.9e9:.2f}"
    assert row(text, "50")[1:] == ["512", "1,000", "2,000", "computing", "computes", "1,100", "1.10"]
    assert row(text, "1 GB")[-1] == "20"


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Before\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter\n")
    page.put(readme, "new")
    assert readme.read_text() == f"# Before\n\n{page.BEGIN}\n\nnew\n\n{page.END}\n\nAfter\n"
    readme.write_text("no markers")
    with pytest.raises(ValueError, match="no markers"):
        page.put(readme, "new")


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    Kept(path).add("one", {"seconds": 1.0})
    kept = Kept(path)
    kept.add("one", {"seconds": 2.0})
    kept.add("two", {"seconds": 3.0})
    assert Kept(path).rounds == {"one": [{"seconds": 1.0}, {"seconds": 2.0}], "two": [{"seconds": 3.0}]}
    kept.forget(["one", "none"])
    assert list(kept.rounds) == ["two"]


def test_dropped_pages_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    assert cached_bytes([path]) == 1 << 20
    drop([path])
    left = cached_bytes([path])
    if left == 1 << 20:
        pytest.skip("the temporary folder lies in memory")
    assert left == 0


def test_a_page_says_when_it_was_measured_not_when_it_was_written() -> None:
    assert page.measured_on([MACHINE, MACHINE]).startswith("2026-01-02; 2 pieces")
    assert page.measured_on([MACHINE, MACHINE | {"date": "2025-12-31"}]).startswith("2025-12-31 to 2026-01-02; 2")


def test_a_run_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def run_piece(key: str, module: str, task: Mapping[str, object], prefix: Sequence[str]) -> dict[str, Any] | None:
        started.append((key, module, task["number"], prefix))
        return None if key == "fails" else {"seconds": 1.0}

    monkeypatch.setattr(runs, "run_piece", run_piece)
    kept = Kept(tmp_path / "results.json")
    kept.add("one", {"seconds": 2.0})
    tasks: dict[str, runs.Task] = {key: lambda number: {"number": number} for key in ("one", "fails", "two")}
    asked = argparse.Namespace(again=False, rounds=2, prefix="nice -n 5")
    prefix = ["nice", "-n", "5"]
    runs.measure(asked, kept, "module", tasks)
    expected = [("fails", 0), ("two", 0), ("one", 1), ("fails", 1), ("two", 1)]
    assert started == [(key, "module", number, prefix) for key, number in expected]
    assert {key: len(found) for key, found in kept.rounds.items()} == {"one": 2, "two": 2}
    asked.again = True
    runs.measure(asked, kept, "module", {"two": tasks["two"]})
    assert len(kept.rounds["two"]) == 2 and started[-1] == ("two", "module", 1, prefix)


def test_speculation_tables_compare_medians_and_tell_where_answers_part() -> None:
    def one(without_s: float, with_s: float, parting: dict[str, float] | None) -> dict[str, Any]:
        return {
            "prompt_tokens": 2000, "answer_tokens": 100, "steps": 40, "drafted": 90, "accepted": 59, "parting": parting,
            "tpot_s": {"without": without_s, "with": with_s},
        }  # fmt: skip

    names = [question.name for question in questions()]
    found = [
        MACHINE
        | dict.fromkeys(names, one(without_s, 0.01, None))
        | {names[-1]: one(0.02, 0.025, {"token": 7, "nats": 0.031})}
        for without_s in (0.02, 0.05, 0.03)
    ]
    text = speculation.tables({guessing.pieces()[0].key: found})
    assert row(text, names[0]) == [names[0], "2,000", "100", "33.3", "100", "3.00", "40", "90", "59", "all"]
    assert row(text, names[-1])[3:6] == ["50.0", "40.0", "0.80"]
    assert row(text, names[-1])[-1] == "7, then 0.03 nats apart"
    assert len(text.split("###")) == 2, "what was not measured is not shown"
