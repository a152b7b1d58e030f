"""The claims table against facts checked by hand: facts/models.md section 3, facts/prices-and-recall.md 1b and 1c.

Verdicts and values are copied from there (state of 2026-11-21); letters V, H and X there are holds, holds if and wrong.
"""

import math
from pathlib import Path

import pytest

from windowtax.base.errors import BadInput, UnknownName
from windowtax.plan.claims.amount import amount_text, factor
from windowtax.plan.claims.contract import claim_json
from windowtax.plan.claims.formula import find_formula, formulas
from windowtax.plan.claims.judge import ARTICLES, Verdict, all_claims, judge, judged_claims, read_claims
from windowtax.plan.claims.of_numbers import published_figures
from windowtax.plan.claims.page import claims_page

JUDGED = {one.claim.id: one for one in judged_claims()}

V, H, X = Verdict.HOLDS, Verdict.HOLDS_IF, Verdict.WRONG

MODELS_MD = {
    "1.01": H, "1.02": V, "1.03": H, "1.04": X, "1.05": V, "1.06": V, "1.07": X, "1.08": X, "1.09": V, "1.10": H,
    "1.11": H, "1.12": H, "1.13": V, "1.15": V, "1.25": X, "1.27": X, "1.28": X, "1.30": X, "1.32": X, "1.33": X,
    "1.35": X, "1.40": H, "1.43": X, "1.44": H, "1.46": X, "1.19": V, "1.20": V, "1.22": V,
    "2.02": X, "2.06": X, "2.07": X, "2.08": X, "2.11": X,
    "3.18": X, "3.19": X, "3.23": H, "3.34": X, "3.35": X, "3.36": X, "3.37": X, "3.40": X, "3.42": X, "3.45": X,
    "3.46": X, "3.47": X, "3.49": X, "3.66": X, "3.67": X, "3.68": X, "3.71": H, "3.73": H, "3.76": X,
    "5.01": V, "5.03": V, "5.05": H, "5.07": V, "5.08": X, "5.09": V, "5.15": X,
}  # fmt: skip
"""facts/models.md section 3, row by row."""

PRICES_MD = {
    "1.18": H, "1.21": V, "1.23": H, "1.24": H, "1.34": X, "1.36": X, "1.49": H, "1.51": H, "1.54": H,
    "2.13": H, "3.54": X, "3.55": X, "3.56": X, "5.14": H, "5.16": H, "5.28": H, "5.32": H, "5.35": X, "5.37": X,
    "5.38": X, "5.18": X, "5.19": X, "5.20": X, "5.21": X, "5.22": X, "5.23": X, "5.31": H,
}  # fmt: skip
"""facts/prices-and-recall.md 1b, 1c and 2c."""

VALUES = [
    ("1.06", 90_060_095_488, "B"), ("1.09", 10_334_371_840, "B"), ("1.07", 85_888, "B"), ("1.27", 2_621_440, "B"),
    ("1.30", 4_997_120, "B"), ("1.33", 0.278, "x"), ("1.35", 0.526, "x"), ("1.04", 33.3, "x"),
    ("2.06", 12_288, "B"), ("3.40", 786.4e9, "B"), ("3.49", 4, "x"), ("3.42", 320 * 2**30, "B"),
    ("3.18", 2**29, "B"), ("3.67", 6.5, "s"), ("3.68", 81, "s"), ("3.76", 3.1, "x"), ("3.34", 2**30, "B"),
    ("5.18", 35, "x"), ("5.19", 139, "x"), ("5.20", 143, "x"), ("5.21", 42, "x"), ("5.22", 69, "x"), ("5.23", 363, "x"),
    ("5.24", 1_436, "tokens"), ("5.35", 392, "x"), ("5.36", 48, "x"), ("5.14", 1_667, "B"), ("5.28", 295, "FLOP/B"),
    ("1.54", 201_000, "tokens"), ("1.24", 17.3, "x"), ("5.09", 1 / 3.56, "x"),
]  # fmt: skip
"""(claim, the value that the facts give, unit)."""


@pytest.mark.parametrize(("claim", "verdict"), [*MODELS_MD.items(), *PRICES_MD.items()])
def test_verdicts_agree_with_the_facts(claim: str, verdict: Verdict) -> None:
    assert JUDGED[claim].verdict is verdict, JUDGED[claim].why


@pytest.mark.parametrize(("claim", "value", "unit"), VALUES)
def test_values_agree_with_the_facts(claim: str, value: float, unit: str) -> None:
    one = JUDGED[claim]
    assert one.value * factor(one.reading.unit) == pytest.approx(value * factor(unit), rel=0.015)


def test_reasons_state_the_facts_figures() -> None:
    """Figures that the facts give beside the claims, computed into the reasons."""
    told = {
        "1.06": ["46.94 GiB", "163,840"],
        "1.07": ["87,296 B"],
        "1.09": ["5.016 GiB"],
        "1.12": ["2.56 GiB"],
        "1.33": ["1.389x"],
        "1.35": ["66.67 %", "68.97 %"],
        "1.44": ["40,016 B"],
        "1.49": ["$3.15", "$3.90"],
        "1.51": ["2.625x", "3.25x"],
        "1.54": ["291,000 tokens", "4,950 tokens"],
        "2.08": ["491.5 GB"],
        "3.47": ["192.1 GB"],
        "5.01": ["168,960 B"],
        "5.09": ["3.556x", "4.663x"],
        "5.14": ["3,387 B"],
        "5.20": ["572x"],
        "5.36": ["31.07x"],
        "5.25": ["53,247 tokens", "61,266 tokens", "107,656 tokens", "196,598 tokens"],
        "5.26": ["15 users"],
        "1.28": ["93.34 %", "82.24 %", "98.24 %"],
    }
    for claim, figures in told.items():
        for figure in figures:
            assert figure in JUDGED[claim].why, f"{claim}: {JUDGED[claim].why}"


BOTH_WAYS = [
    # name in `also`, what the facts give: all parameters for L_eq, the head for every token in the floors, bf16 rows
    # and 49 billion for V4-Pro, decimal gigabytes of HBM, one head width for multi-head attention, 1.64 TB/s for v6e.
    ("5.25", "small_all", 61_000), ("5.25", "large_all", 108_000), ("5.25", "most_all", 196_000),
    ("3.66", "counted", 780), ("3.67", "counted", 6.5), ("3.68", "counted", 81), ("5.24", "v4_bf16", 16_581),
    ("5.26", "decimal", 15), ("1.28", "square", 98.2), ("5.28", "v6e_2", 560), ("5.36", "v4", 1_106),
    ("5.36", "v3", 117),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "name", "value"), BOTH_WAYS)
def test_where_the_facts_count_otherwise_their_number_is_reproduced_too(claim: str, name: str, value: float) -> None:
    assert JUDGED[claim].claim.also[name].value == pytest.approx(value, rel=0.02)


def test_the_two_lengths_of_equal_flops_differ_by_what_is_counted() -> None:
    """By hand, Llama-3.1-8B: 32 heads x 128 x 32 layers; 8.03 billion parameters, 6.98 of them in layers' matrices."""
    per_token, all_parameters = 32 * 128 * 32, 8_030_261_248
    matrices = 32 * (4096 * (4096 + 2 * 1024 + 4096) + 3 * 4096 * 14_336)
    claim = JUDGED["5.25"]
    assert claim.value == pytest.approx(matrices / per_token, abs=2)
    assert claim.claim.also["small_all"].value == pytest.approx(all_parameters / per_token, rel=1e-6)


def test_a_discount_has_one_formula() -> None:
    """2 x 70.55 billion / (half of 1,978 TFLOP/s) against 163,840 B / 55 GB/s."""
    by_hand = 2 * 70_553_706_496 / (0.5 * 1978e12) / (163_840 / 55e9)
    assert JUDGED["5.36"].value == pytest.approx(by_hand, rel=1e-9)


def test_every_article_is_there_and_every_claim_is_whole() -> None:
    claims = all_claims()
    assert len(claims) >= 80
    assert {claim.article for claim in claims} == set(ARTICLES)
    assert len({claim.id for claim in claims}) == len(claims)
    for one in judged_claims():
        assert one.claim.quote and one.why and "{" not in one.why, one.claim.id
        assert math.isfinite(one.value), one.claim.id


def test_the_verdict_follows_from_the_number() -> None:
    """Any claim of equality becomes wrong when its number is moved, and holds when it is set to the plain reading's."""
    from dataclasses import replace

    for claim in all_claims():
        first = claim.readings[0]
        if first.relation != "equals" or first.misplaced or claim.low != claim.high:
            continue
        moved = replace(claim, low=first.value, high=first.value)
        assert judge(moved).verdict is (H if first.assumption else V), claim.id
        far = 1e9 * max(1.0, *(abs(reading.value) for reading in claim.readings))
        assert judge(replace(claim, low=far, high=far)).verdict is X, claim.id


def test_every_formula_is_used_and_says_what_it_is() -> None:
    used = {r.formula.name for claim in all_claims() for r in (*claim.readings, *claim.also.values())}
    assert not set(formulas()) - used
    assert all(formula.says for formula in formulas().values())
    with pytest.raises(UnknownName, match="no formula"):
        find_formula("guess")


def test_published_figures_say_where_they_are_from() -> None:
    figures = published_figures()
    assert all(figure.source and figure.date >= "2026-11-21" for figure in figures.values())
    asked = {
        r.inputs.get(k) for c in all_claims() for r in (*c.readings, *c.also.values()) for k in ("figure", "other")
    }
    assert set(figures) <= asked


def test_data_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "article1.toml"
    entry = '[[claim]]\nid = "1.1"\nquote = "q"\nvalue = 2\nunit = "x"\nwhy = "w"\n'
    path.write_text(entry + 'readings = [{ f = "quotient", a = 4, b = 2 }]\nverdict = "holds"\n')
    with pytest.raises(BadInput, match="verdict"):
        read_claims(path)
    path.write_text(entry + 'readings = [{ f = "cache_per_token", model = "llama-3-70b" }]\n')
    with pytest.raises(BadInput, match="no x"):
        read_claims(path)
    path.write_text(entry + 'readings = [{ f = "quotient", a = 4, b = 2 }]\n' + entry.replace("w", "x"))
    with pytest.raises((BadInput, KeyError)):
        read_claims(path)
    path.write_text(entry + 'readings = [{ f = "quotient", a = 4 }]\n')
    with pytest.raises(BadInput, match="quotient"):
        judge(read_claims(path)[0])


def test_the_page_holds_every_claim() -> None:
    page = claims_page()
    for one in judged_claims():
        assert f"| {one.claim.id} | " in page
        assert one.why.replace("|", "\\|") in page
    assert f"| all | {len(JUDGED)} | " in page


def test_json_has_all_parts() -> None:
    found = claim_json(JUDGED["1.01"])
    assert found["claimed"] == {"value": 40.0, "unit": "GB", "text": "40 GB"}
    assert found["ours"] == {"value": 40.0, "unit": "GiB", "text": "40 GiB"}
    assert found["verdict"] == "holds if" and "GiB" in found["assumption"]
    assert found["formula"] == "cache_total" and found["inputs"]["context"] == 131_072
    assert claim_json(JUDGED["1.04"])["assumption"] == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (83.8750, "GiB", "83.88 GiB"),
        (163_840, "B", "163,840 B"),
        (1.2, "USD", "$1.20"),
        (0.445, "USD", "$0.445"),
        (40e12, "tokens", "40 trillion tokens"),
        (13.333, "x", "13.33x"),
        (math.inf, "tokens", "without end"),
    ],
)
def test_amounts_are_readable(value: float, unit: str, text: str) -> None:
    assert amount_text(value, unit) == text
