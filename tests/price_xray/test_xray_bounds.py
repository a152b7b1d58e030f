"""Bounds from discounts, storage and output prices against facts/prices-and-recall.md 1b."""

from datetime import UTC, datetime

import pytest

from windowtax.price.xray.bounds import discount_bounds, output_reading, recompute_s, storage_bounds
from windowtax.price.xray.priors import chips
from windowtax.price.xray.shape import price_shape

AT = datetime(2026, 11, 21, tzinfo=UTC)
H100_FP8 = 1_979e12

# active parameters, KV bytes in FP8, then the largest discount from HBM, DRAM, four NVMe, one NVMe
DISCOUNTS = [
    (70e9, 163_840, (392, 48, 24, 6)),
    (35e9, 126_976, (251, 31, 16, 4)),
    (37e9, 35_136, (958, 117, 60, 15)),
]


@pytest.mark.parametrize(("active", "b", "table"), DISCOUNTS)
def test_largest_discounts(active, b, table):
    for rate, expected in zip((450e9, 55e9, 28e9, 7e9), table, strict=True):
        assert recompute_s(active, H100_FP8, 0.5) / (b / rate) == pytest.approx(expected, rel=0.03, abs=0.5)


def test_a_discount_bounds_the_cache_by_its_own_factor():
    shape = price_shape("google", "gemini-2.5-pro", AT)
    bounds = {bound.name: bound.limit for bound in discount_bounds(shape, {"active_parameters": 70e9})}
    dram = next(limit for name, limit in bounds.items() if "DRAM" in name)
    # 70 billion at 35 to 65 % of every chip's rate: the H100 in FP8 at one half gives 787 KB for a discount of ten.
    by_hand = 55e9 * recompute_s(70e9, H100_FP8, 0.5) / 10
    assert by_hand in dram
    flat = price_shape("openai", "gpt-5.4-pro", AT)
    assert flat.read_discount is None and discount_bounds(flat, {}) == ()


def test_storage_price_of_gemini():
    bounds = storage_bounds(price_shape("google", "gemini-2.5-pro", AT))
    hbm, dram = bounds[0].limit, bounds[1].limit
    assert (hbm.low / 1e3, hbm.high / 1e3) == pytest.approx((53, 181), rel=0.02)
    assert dram.high == pytest.approx(2.0e6, rel=0.03)
    assert storage_bounds(price_shape("openai", "gpt-5.5", AT)) == ()


# facts: 70B in FP8 on H100
@pytest.mark.parametrize(("ratio", "batch", "tokens"), [(5, 59, 7.2e3), (3, 98, 4.3e3), (8, 37, 11.6e3)])
def test_an_output_price_is_a_curve(ratio, batch, tokens):
    h100 = next(chip for chip in chips() if chip.name == "h100-sxm")
    found = output_reading(ratio, 70e9, 70e9, h100)
    assert found.smallest_batch == pytest.approx(batch, rel=0.02)
    assert found.read_bytes / 163_840 == pytest.approx(tokens, rel=0.02)
    if ratio == 5:
        assert found.read_bytes == pytest.approx(1.18e9, rel=0.01)
