"""API bills against the table of length tiers and the recomputed per-call claims in facts/prices-and-recall.md."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from windowtax.base.errors import BadInput, UnknownName
from windowtax.price.api import api_bill, compare_bills, default_price_lists

AT = datetime(2026, 11, 21, tzinfo=UTC)

# provider, model, cliff, then USD per Mtok below and above it: input, output, cached input
TIERS = [
    ("openai", "gpt-6.1-sol", 272_000, ("2", "4"), ("10", "15"), ("0.1", "0.2")),
    ("openai", "gpt-6-sol", 272_000, ("2", "4"), ("10", "15"), ("0.2", "0.4")),
    ("openai", "gpt-5.5", 272_000, ("5", "10"), ("30", "45"), ("0.5", "1")),
    ("openai", "gpt-6-astra", 272_000, ("10", "20"), ("50", "75"), ("1", "2")),
    ("anthropic", "claude-haiku-5-5", 100_000, ("0.1", "0.5"), ("0.5", "2.5"), ("0.01", "0.05")),
    ("anthropic", "claude-sonnet-4-5", 200_000, ("3", "6"), ("15", "22.5"), ("0.3", "0.6")),
    ("google", "gemini-2.5-pro", 200_000, ("1.25", "2.5"), ("10", "15"), ("0.125", "0.25")),
    ("google", "gemini-3.1-pro-preview", 200_000, ("2", "4"), ("12", "18"), ("0.2", "0.4")),
    ("x-ai", "grok-4.7", 199_999, ("2", "4"), ("6", "12"), ("0.5", "1")),
    ("minimax", "minimax-m3", 512_000, ("0.3", "0.6"), ("1.2", "2.4"), ("0.06", "0.12")),
]


@pytest.mark.parametrize(("provider", "model", "cliff", "inputs", "outputs", "cached"), TIERS)
@pytest.mark.parametrize("side", [0, 1])
def test_one_token_past_the_cliff_reprices_the_whole_request(provider, model, cliff, inputs, outputs, cached, side):
    prompt, output, hit = cliff + side, 1_000, 100_000
    bill = api_bill(provider, model, prompt, output, hit, AT)
    assert bill.cached_usd == Decimal(cached[side]) * hit / 1_000_000
    assert bill.input_usd == Decimal(inputs[side]) * (prompt - hit) / 1_000_000 + bill.cached_usd
    assert bill.output_usd == Decimal(outputs[side]) * output / 1_000_000
    assert bill.total_usd == bill.input_usd + bill.output_usd
    assert bool(bill.tier) == bool(side)
    if side:
        assert f"{cliff:,}" in bill.tier


@pytest.mark.parametrize(
    ("model", "prompt", "dollars"), [("gpt-5.5", 256_000, "1.28"), ("gpt-5.4-pro", 256_000, "7.68")]
)
def test_claims_of_article_one_that_reproduce(model, prompt, dollars):
    assert api_bill("openai", model, prompt, 0, at=AT).total_usd == Decimal(dollars)


def test_just_past_the_cliff_costs_more_than_double():
    assert api_bill("openai", "gpt-5.5", 273_000, 0, at=AT).total_usd == Decimal("2.73")


def test_prices_follow_the_day():
    before = api_bill("google", "gemini-4-argon", 100_000, 0, at=AT)
    after = api_bill("google", "gemini-4-argon", 100_000, 0, at=datetime(2026, 12, 2, tzinfo=UTC))
    assert (before.total_usd, after.total_usd) == (Decimal("0.2"), Decimal("0.4"))


def test_default_lists_are_three_sellers_and_cached_is_cheaper():
    pairs = compare_bills(8_000, 200, 7_900, AT)
    assert [pair.cold.provider for pair in pairs] == [entry.provider for entry in default_price_lists()]
    assert len({pair.cold.provider for pair in pairs}) == 3
    for pair in pairs:
        assert pair.cold.cached_tokens == 0 and pair.cached.cached_tokens == 7_900
        assert Decimal(0) < pair.cached.total_usd < pair.cold.total_usd
        assert "genai-prices" in pair.cold.source


def test_a_list_without_a_cache_price_bills_full_input_and_says_so():
    bill = api_bill("openai", "gpt-5.4-pro", 1_000_000, 0, 500_000, AT)
    assert bill.total_usd == Decimal(60)
    assert bill.usd_per_mtok_cached is None
    assert "no price for cached tokens" in bill.notes[0]


def test_unknown_names_come_with_near_ones():
    with pytest.raises(UnknownName, match=r"gpt-6\.1-sol"):
        api_bill("openai", "gpt6.1-sol", 1, 1)
    with pytest.raises(UnknownName, match="anthropic"):
        api_bill("antropic", "claude-sonnet-5-5", 1, 1)


def test_more_cached_than_prompt_is_refused():
    with pytest.raises(BadInput, match="make no sense"):
        api_bill("openai", "gpt-5.5", 10, 1, 11)
