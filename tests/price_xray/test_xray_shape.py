"""Shapes of price lists against the table of length tiers in facts/prices-and-recall.md 1a (checked 2026-11-21)."""

from datetime import UTC, datetime

import pytest

from windowtax.base.errors import UnknownName
from windowtax.price.xray.findings import find, window_at
from windowtax.price.xray.shape import plain_name, price_shape, tier_removed_on

AT = datetime(2026, 11, 21, tzinfo=UTC)

# provider, model, threshold, input and output step, output over input, input over cached input
LISTS = [
    ("anthropic", "claude-haiku-5-5", 100_000, 5, 5, 5, 10),
    ("anthropic", "claude-sonnet-4-5", 200_000, 2, 1.5, 5, 10),
    ("openai", "gpt-5.5", 272_000, 2, 1.5, 6, 10),
    ("openai", "gpt-6.1-sol", 272_000, 2, 1.5, 5, 20),
    ("google", "gemini-2.5-pro", 200_000, 2, 1.5, 8, 10),
    ("google", "gemini-1.5-pro", 128_000, 2, 2, 4, None),
    ("x-ai", "grok-4.7", 200_000, 2, 2, 3, 4),
    ("minimax", "minimax-m3", 512_000, 2, 2, 4, 5),
    ("openrouter", "qwen/qwen3.6-plus", 256_000, 4, 2, 6, None),
    ("alibaba", "qwen3-coder-480b-a35b-instruct", 32_000, 1.8, 1.8, 5, None),
]


@pytest.mark.parametrize(("provider", "model", "threshold", "input_step", "output_step", "ratio", "discount"), LISTS)
def test_steps_and_ratios(provider, model, threshold, input_step, output_step, ratio, discount):
    shape = price_shape(provider, model, AT)
    tier = shape.tiers[0]
    assert tier.threshold_tokens == threshold
    assert tier.input_step == pytest.approx(input_step, rel=1e-3)
    assert tier.output_step == pytest.approx(output_step, rel=1e-3)
    assert shape.output_ratio == pytest.approx(ratio, rel=1e-3)
    assert shape.read_discount == (None if discount is None else pytest.approx(discount, rel=1e-3))
    assert shape.source


def test_bands_step_against_the_band_below():
    shape = price_shape("alibaba", "qwen3-coder-480b-a35b-instruct", AT)
    assert [tier.threshold_tokens for tier in shape.tiers] == [32_000, 128_000]
    assert [tier.input_step for tier in shape.tiers] == pytest.approx([2.7 / 1.5, 4.5 / 2.7])


def test_a_flat_list_has_no_tier():
    assert price_shape("anthropic", "claude-opus-5", AT).tiers == ()


def test_the_day_a_tier_went_away():
    assert tier_removed_on("anthropic", "claude-opus-4-6", AT) == "2026-03-13"
    assert tier_removed_on("anthropic", "claude-sonnet-4-5", AT) == ""


def test_one_name_for_one_model():
    assert plain_name("anthropic/claude-opus-4.6") == plain_name("claude-opus-4-6") == "claude-opus-4-6"


def test_a_seller_with_one_threshold_for_all_prices():
    shape = price_shape("openai", "gpt-5.5", AT)
    found = find(shape, shape.tiers[0], AT)
    names = {one.model for one in found.same_seller}
    assert {"gpt-6-luna", "gpt-6-astra", "gpt-5.4-pro", "gpt-6.1-terra"} <= names
    assert found.price_range == (0.1, 30.0) and found.shared
    assert "272,000" in found.window


def test_resellers_move_the_threshold():
    shape = price_shape("x-ai", "grok-4.7", AT)
    others = {
        one.provider: [tier.threshold_tokens for tier in one.tiers] for one in find(shape, shape.tiers[0], AT).elsewhere
    }
    assert others["cursor"] == [256_000]


def test_windows_at_thresholds():
    assert "524,288" in window_at("minimax-m3", 512_000)
    assert "262,144" in window_at("qwen3-5-plus", 256_000)
    assert window_at("gpt-5-5", 200_000) == ""


def test_unknown_lists_are_named():
    with pytest.raises(UnknownName, match="gemini"):
        price_shape("google", "gemnii-3.1", AT)
