"""Priors and their lattice: known integrals, known quantiles, the same numbers every time."""

from math import log, sqrt
from statistics import fmean

import pytest

from windowtax.base.errors import WindowtaxError
from windowtax.price.xray.priors import Interval, chips, draws, priors, quantile


def test_every_prior_says_why_and_when():
    for prior in priors().values():
        assert prior.why and prior.date and prior.unit and prior.span


def test_the_lattice_integrates_what_is_known_by_hand():
    found = list(draws(("active_parameters", "kink_share", "number_bits")))
    logs = [log(draw["active_parameters"]) for draw in found]
    assert fmean(logs) == pytest.approx((log(10e9) + log(400e9)) / 2, rel=1e-3)
    assert fmean(draw["kink_share"] for draw in found) == pytest.approx(0.625, rel=2e-3)
    # Independence: the mean of a product is the product of the means.
    product = fmean(log(draw["active_parameters"]) * draw["kink_share"] for draw in found)
    assert product == pytest.approx(fmean(logs) * 0.625, rel=2e-3)
    for chip in chips():
        share = sum(draw.chip is chip for draw in found) / len(found)
        assert share == pytest.approx(1 / len(chips()), abs=0.01)
    assert sum(draw["number_bits"] == 8 for draw in found) / len(found) == pytest.approx(0.5, abs=0.01)


def test_the_median_of_a_log_prior_is_the_geometric_mean():
    values = [draw["active_parameters"] for draw in draws(("active_parameters",))]
    interval = Interval.of(values)
    assert interval.median == pytest.approx(sqrt(10e9 * 400e9), rel=2e-3)
    assert interval.low == pytest.approx(10e9 * 40**0.05, rel=5e-3)


def test_what_is_known_is_not_guessed():
    assert {
        draw["active_parameters"] for draw in draws(("active_parameters", "batch"), {"active_parameters": 22e9})
    } == {22e9}


def test_chips_agree_with_the_ratios_in_the_facts():
    # facts/prices-and-recall.md 1b: C / BW in bf16 multiply-adds per byte times two; Ironwood 313, v5p 166, H200 206.
    ratios = {chip.name: chip.flops_per_s[16] / chip.read_bytes_per_s for chip in chips()}
    for name, ratio in {"h100-sxm": 295, "h200-sxm": 206, "tpu-v5p": 166, "tpu-v6e": 560, "ironwood": 313}.items():
        assert ratios[name] == pytest.approx(ratio, rel=0.03)


def test_quantiles_and_misses():
    assert [quantile([1, 2, 3], share) for share in (0, 0.25, 1)] == [1, 1.5, 3]
    with pytest.raises(WindowtaxError):
        quantile([], 0.5)
    interval = Interval(10, 20, 40)
    assert 25 in interval and 5 not in interval
    assert (interval.miss(20), interval.miss(5), interval.miss(120)) == (1, 2, 3)
