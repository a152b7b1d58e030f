"""The back-test against the calibration table of facts/prices-and-recall.md 1b and peers.md (C-notes)."""

from pathlib import Path

import pytest

from windowtax.price.xray.backtest import backtest, known_models
from windowtax.price.xray.latency import latency_trials
from windowtax.price.xray.report import DOCS_BEGIN, backtest_markdown, refreshed

PAGE = Path(__file__).parents[2] / "docs" / "xray.md"

# model, threshold -> article's b, true b in FP8, error of the article; 2-FLOP b on H100 bf16 where peers.md has it
FACTS = {
    ("Qwen3-Coder-480B-A35B", 32_000): (3_646, 126_976, 35, 7_410),
    ("Qwen3-Coder-480B-A35B", 128_000): (911, 126_976, 139, None),
    ("Qwen3-Coder-30B-A3B", 32_000): (344, 49_152, 143, 699),
    ("Qwen3-Coder-30B-A3B", 128_000): (86, 49_152, 572, None),
    ("Qwen3-VL-235B-A22B", 32_000): (2_292, 96_256, 42, None),
    ("Qwen3-VL-235B-A22B", 128_000): (573, 96_256, 168, None),
    ("Qwen3.5-397B-A17B", 256_000): (221, 15_360, 69, 450),
    ("MiniMax-M3", 512_000): (169, 61_440, 363, None),
}


def test_every_row_of_the_calibration_table():
    rows = {(row.known.title, row.threshold_tokens): row for row in backtest().rows}
    assert rows.keys() == FACTS.keys()
    for key, (article, true, error, corrected) in FACTS.items():
        row = rows[key]
        assert round(row.article_bytes) == article
        assert row.known.true_bytes == true
        assert row.article_error == pytest.approx(error, rel=0.015)
        if corrected is not None:
            assert row.corrected_bytes == pytest.approx(corrected, rel=0.005)


def test_the_kink_fails_by_17_to_572():
    low, high = backtest().kink_errors
    assert low == pytest.approx(17.1, abs=0.1) and high == pytest.approx(572, abs=1)
    assert not any(row.known.true_bytes in row.intervals["H1"] for row in backtest().rows)


# peers.md C-notes: 16.8k, 45.9k, 138k
@pytest.mark.parametrize(
    ("title", "tokens"),
    [("Qwen3-Coder-30B-A3B", 16.8e3), ("Qwen3-Coder-480B-A35B", 45.9e3), ("Qwen3.5-397B-A17B", 138e3)],
)
def test_prefill_crossovers(title, tokens):
    known = next(one for one in known_models() if one.title == title)
    assert known.crossover_tokens == pytest.approx(tokens, rel=0.005)


def test_likelihoods_only_where_the_set_supports_them():
    scores = backtest().scores
    assert {name for name, score in scores.items() if score.likelihood is not None} == {"H2", "H5"}
    assert scores["H1"].inside == 0
    # The rule of succession by hand: 4 of 5 is 5/7.
    assert (scores["H2"].inside, scores["H2"].cases) == (4, 5)
    assert scores["H2"].likelihood == pytest.approx(5 / 7)


def test_the_only_miss_of_prefill_attention_is_the_sparse_model():
    missed = [
        row.known.title for row in backtest().rows if row.first and row.known.true_bytes not in row.intervals["H2"]
    ]
    assert missed == ["MiniMax-M3"]


def test_the_page_shows_this_back_test():
    page = PAGE.read_text(encoding="utf-8")
    table = backtest_markdown(backtest(), latency_trials())
    assert table in page, "docs/xray.md is stale: write windowtax.price.xray.report.refreshed(page, ...) into it"
    stale = page.replace("| 35x |", "| 1x |")
    assert stale != page and refreshed(stale, backtest(), latency_trials()) == page
    assert page.count(DOCS_BEGIN) == 1
