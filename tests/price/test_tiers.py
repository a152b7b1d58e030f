"""Kept cache: the fact sheet's holding costs and its table of the largest cache-read discounts."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from windowtax.base.errors import BadInput
from windowtax.base.sourced import Basis, Sourced
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.price.lists import price_sheet
from windowtax.price.own_lists import MemoryTier, memory_tiers
from windowtax.price.tiers import Recompute, hbm_tier, kept, published_tiers, tiers_of
from windowtax.spec.dtypes import cache_dtype

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
LLAMA = read_model("llama-3.1-70b").layout(cache_dtype("fp8"))
TOKENS = 100_000


def tier(usd_per_gb_hour: float, bytes_per_s: float) -> MemoryTier:
    def figure(value: float, unit: str) -> Sourced:
        return Sourced(value, unit, Basis.ASSUMED, "test", "2026-11-21")

    return MemoryTier(
        name="x",
        title="x",
        usd_per_gb_hour=figure(usd_per_gb_hour, "USD/GB-h"),
        read_bytes_per_s=figure(bytes_per_s, "B/s"),
        per_accelerator=True,
    )


@pytest.mark.parametrize(
    ("usd_per_gb_hour", "per_mtok_hour"),
    [(2.95 / 80, 6.0), (0.0022, 0.36)],  # 160 KiB a token: H100 HBM counted as 80 GB, and DRAM
)
def test_holding_a_million_tokens_for_an_hour(usd_per_gb_hour, per_mtok_hour):
    found = kept(LLAMA, TOKENS, tier(usd_per_gb_hour, 55e9), Recompute(seconds=10, usd_per_hour=2.95))
    assert found.bytes == 163_840 * TOKENS
    assert found.usd_per_mtok_hour == pytest.approx(per_mtok_hour, rel=0.01)
    assert found.usd_per_hour == pytest.approx(found.usd_per_mtok_hour / 10)


@pytest.mark.parametrize(("gb_per_s", "discount"), [(450, 392), (55, 48), (28, 24), (7, 6)])
def test_the_largest_discount_of_each_tier(gb_per_s, discount):
    # One H100 at half its 1,979 TFLOP/s of FP8, two FLOPs for each of 70.6e9 parameters (facts 1b).
    again = Recompute(seconds=TOKENS * 2 * 70.6e9 / (0.5 * 1979e12), usd_per_hour=2.95)
    assert kept(LLAMA, TOKENS, tier(0.0022, gb_per_s * 1e9), again).most_discount == pytest.approx(discount, rel=0.03)


def test_a_cache_pays_until_its_rent_has_eaten_the_recompute():
    again = Recompute(seconds=3_600, usd_per_hour=2.0)
    found = kept(LLAMA, TOKENS, tier(0.01, 16.384e9), again)
    assert found.load_s == pytest.approx(1.0)
    rent = found.usd_per_hour * found.keep_hours
    assert rent + found.load_usd == pytest.approx(again.usd)
    assert found.pays
    assert not kept(LLAMA, TOKENS, tier(0.01, 16.384e9), Recompute(seconds=0.5, usd_per_hour=2.0)).pays


def test_accelerators_load_their_shares_at_once_but_share_the_nodes_drives():
    again = Recompute(seconds=10, usd_per_hour=10)
    one, four = (
        {name: kept(LLAMA, TOKENS, found, again, count).load_s for name, found in memory_tiers().items()}
        for count in (1, 4)
    )
    assert one["dram"] == pytest.approx(4 * four["dram"])
    assert one["ssd"] == four["ssd"]


def test_tiers_of_a_device_get_cheaper_downwards_and_say_where_their_figures_come_from():
    ways = tiers_of(hardware("h100-sxm"))
    assert [one.name for one in ways] == ["hbm", "dram", "ssd", "object"]
    assert ways[0].usd_per_gb_hour.value > ways[1].usd_per_gb_hour.value > ways[2].usd_per_gb_hour.value
    assert ways[0].usd_per_gb_hour.value == pytest.approx(2.95 / (80 * 2**30 / 1e9))
    for one in ways:
        assert one.usd_per_gb_hour.source and one.read_bytes_per_s.source and one.usd_per_gb_hour.date
    # The articles' "100 times cheaper than DRAM" is 20 times at these rents.
    assert ways[1].usd_per_gb_hour.value / ways[2].usd_per_gb_hour.value == pytest.approx(20, rel=0.01)


def test_published_prices_bound_the_bytes_behind_them():
    ways = (tier(2.95 / 80, 1), tier(0.0022, 1))
    found = published_tiers(price_sheet("google", "gemini-2.5-pro", AT), tiers_of(hardware("h100-sxm")))
    assert [one.name for one in found] == ["storage"]
    # facts 1b: 4.50 USD caps b at 53 to 181 KB in HBM (by the accelerator's price) and at 2 MB in DRAM
    assert 53e3 < found[0].bytes_per_token_if["hbm"] < 181e3
    assert found[0].bytes_per_token_if["dram"] == pytest.approx(2.045e6, rel=0.001)
    assert found[0].keep_hours == pytest.approx(1.125 / 4.5)
    claude = published_tiers(price_sheet("anthropic", "claude-opus-5", AT), ways)
    assert [(one.name, one.usd_per_mtok_hour) for one in claude] == [("5 min write", 15.0), ("1 h write", 5.0)]
    assert {one.basis for one in claude} == {Basis.DERIVED}
    assert published_tiers(price_sheet("openai", "gpt-5.5", AT), ways) == []


def test_senseless_questions_are_refused():
    again = Recompute(seconds=1, usd_per_hour=1)
    with pytest.raises(BadInput):
        kept(LLAMA, 0, tier(1, 1), again)
    with pytest.raises(BadInput, match="--usd-per-hour"):
        hbm_tier(replace(hardware("h100-sxm"), usd_per_hour=None))
    with pytest.raises(BadInput):
        memory_tiers()["ssd"].priced(-1, "2026-11-21")
