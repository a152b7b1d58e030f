"""Derivations and reports: each figure has its basis, its source and the numbers put in."""

import re

from tests.plan.specs import GEMMA_LIKE, LLAMA_70B
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.explain import derivation
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.plan.report import headline, sections
from windowtax.spec.workload import Workload

PLAN = make_plan(LLAMA_70B, hardware("h100"), Workload(context_tokens=131_072, users=2))
BASES = {"datasheet", "derived", "measured", "assumed", "config"}


def test_every_row_says_what_it_is():
    rows = [row for section in sections(PLAN) for row in section.rows]
    assert {row.basis for row in rows} <= BASES
    assert all(row.value for row in rows)
    assert "131,072" in headline(PLAN)


def test_the_derivation_shows_the_sum_of_the_issue():
    steps = {step.name: step for step in derivation(PLAN)}
    assert steps["bytes per token, group 1"].numbers == "80 full layers x (k 8 x 128 x 16 bit + v 8 x 128 x 16 bit)"
    assert steps["bytes per token, group 1"].result == "327,680 B"
    assert steps["cache of one user"].numbers == "327,680 x 131,072"
    assert steps["cache of one user"].result == "42,949,672,960 B (40.00 GiB)"


def test_every_hardware_figure_has_source_and_date():
    steps = [step for step in derivation(PLAN) if not step.formula]
    assert len(steps) >= 8
    assert all(re.search(r" \(2026-11-\d\d\)$", step.source) for step in steps)
    names = {step.name: step.result for step in steps}
    assert names["reached on weights eta_W"] == "0.926" and names["reached on the cache eta_KV"] == "0.86"
    assert names["latency of an all-reduce"] == "9.0 µs" and names["reached of links"] == "0.82"


def test_a_plan_that_does_not_fit_still_explains_its_bytes():
    made = make_plan(GEMMA_LIKE, hardware("l4"), Workload(context_tokens=2**33), PlanOptions(accelerators=1))
    assert {step.basis for step in derivation(made)} <= BASES
    assert any(section.title == "Fit: DOES NOT FIT" for section in sections(made))
