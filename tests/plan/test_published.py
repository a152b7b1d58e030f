"""What was published against what is predicted (src/windowtax/plan/published/, from facts of stored public sources)."""

from pathlib import Path

import pytest

from windowtax.plan.accuracy import accuracy_page
from windowtax.plan.measured import Compared, compared

ROWS = compared()
PAGE = Path(__file__).parents[2] / "docs" / "accuracy.md"
LARGEST_AT_LOAD = {"TTFT": 0.35, "TPOT": 0.21, "tokens/s": 0.23, "input tokens/s": 0.28}
"""Seen, rounded up: what the page shows for more than five users."""


def name(row: Compared) -> str:
    return f"{row.title}, {row.setting}, {row.what}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.tolerance is not None], ids=name)
def test_few_users_are_within_the_promise_or_marked(row):
    assert (abs(row.error_of_time) > row.tolerance) == bool(row.outlier), f"{row.error:+.1%}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.tolerance is None], ids=name)
def test_many_users_are_near(row):
    assert abs(row.error) <= LARGEST_AT_LOAD[row.what], f"{row.error:+.1%}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.saturated is not None and row.what == "TTFT"], ids=name)
def test_saturation_is_told_where_first_tokens_take_seconds(row):
    """All published cases with more than 5 s to the first token are full ones, and no others."""
    assert row.saturated == (row.published > 5000)


def test_nims_full_machine_holds_what_its_latencies_say():
    """At 150 users: 920.9 tokens/s of 500 each, a request is in flight 500 x 92.86 ms: Little's law says 85.5."""
    from tests.plan.specs import LLAMA_70B
    from tests.plan.test_knee import load

    assert load(LLAMA_70B, ranks=2, prompt=5000, output=500, cache="fp8").most_in_flight == pytest.approx(
        85.5, rel=0.05
    )


def test_deepseeks_pools_lie_between_the_two_bounds_of_overlap():
    """They take two batches in turns: faster than with nothing hidden, slower than with everything hidden."""
    for what in ("TPOT", "tokens/s", "input tokens/s"):
        hidden, added = (
            next(row for row in ROWS if "DeepSeek" in row.title and row.what == what and how in row.setting)
            for how in ("in turns", "nothing hidden")
        )
        assert min(hidden.predicted, added.predicted) <= hidden.published <= max(hidden.predicted, added.predicted)


def test_predictions_keep_the_promise_and_not_only_fits():
    predicted = [row for row in ROWS if row.tolerance is not None and not row.fitted]
    assert len(predicted) >= 40
    assert sum(not row.outlier for row in predicted) / len(predicted) > 0.8


def test_nothing_is_hidden():
    page = accuracy_page(ROWS)
    assert len(ROWS) >= 80
    for row in ROWS:
        assert row.setting in page and row.title in page and row.outlier in page
    assert page.count("\n| ") >= len(ROWS)


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == accuracy_page(ROWS), "run: python -m windowtax.plan.accuracy > " + str(
        PAGE
    )
