"""The cliff guard: bills recomputed by genai-prices itself, and trims tried token by token."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from windowtax.base.errors import BadInput
from windowtax.price.api import api_bill, bill_of
from windowtax.price.cliff import cliff_guard
from windowtax.price.lists import SERVICES, price_sheet
from windowtax.price.sheet import Usage

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)

WITNESSED = [
    ("anthropic", "claude-opus-5", "standard"),
    ("anthropic", "claude-haiku-5-5", "standard"),
    ("anthropic", "claude-haiku-5-5", "batch"),
    ("anthropic", "claude-sonnet-4-5", "standard"),
    ("moonshotai", "kimi-k3", "standard"),
    ("openai", "gpt-6.1-sol", "standard"),
    ("openai", "gpt-6.1-sol", "flex"),
    ("openai", "gpt-6.1-sol", "priority"),
    ("google", "gemini-2.5-pro", "batch"),
    ("x-ai", "grok-4.7", "standard"),
    ("openrouter", "qwen/qwen3.7-flash", "standard"),
    ("quicksilverpro", "gpt-6-sol", "standard"),
]


@pytest.mark.parametrize(("provider", "model", "service"), WITNESSED)
@pytest.mark.parametrize("prompt", [40_000, 100_000, 100_001, 200_000, 272_001, 600_000])
def test_bills_agree_with_the_calculator_of_genai_prices(provider, model, service, prompt):
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    snapshot = get_snapshot()
    seller = find_provider_by_id(snapshot.providers, provider)
    assert seller is not None
    entry = next(one for one in seller.models if one.id == model)
    has_write = entry.get_prices(AT).cache_write_mtok is not None
    has_hour = entry.get_prices(AT).cache_write_1h_mtok is not None
    write, hour = (7_000 if has_write else 0), (5_000 if has_hour else 0)
    bill = api_bill(
        provider, model, prompt, 900, 20_000, AT, write_5m_tokens=write, write_1h_tokens=hour, service=service
    )
    usage = {"input_tokens": prompt, "output_tokens": 900, "cache_read_tokens": 20_000}
    if write or hour:
        usage["cache_write_tokens"] = write + hour
    if hour:
        usage["cache_write_1h_tokens"] = hour
    context = None if service == "standard" else dict([SERVICES[service]])
    witness = entry.calc_price(usage, seller, genai_request_timestamp=AT, price_context=context)
    assert bill.total_usd == witness.total_price
    assert (bill.input_usd, bill.output_usd) == (witness.input_price, witness.output_price)


@pytest.mark.parametrize(
    ("provider", "model", "line"),
    [("openai", "gpt-5.5", 272_000), ("x-ai", "grok-4.7", 199_999), ("anthropic", "claude-haiku-5-5", 100_000)],
)
def test_the_guard_stands_on_the_line(provider, model, line):
    sheet = price_sheet(provider, model, AT)
    below, past = (cliff_guard(sheet, Usage(prompt_tokens=line + side, output_tokens=500)) for side in (0, 1))
    assert (below.past_tokens, below.next_tokens, below.left_tokens) == (None, line, 0)
    assert (past.past_tokens, past.trim_tokens, past.just_past) == (line, 1, True)
    dearer = sheet.cost(Usage(prompt_tokens=line + 1, output_tokens=500)).total_usd
    cheaper = sheet.cost(Usage(prompt_tokens=line, output_tokens=500)).total_usd
    assert past.saving_usd == below.next_jump_usd == dearer - cheaper
    assert any(f"{line:,}" in sentence for sentence in past.sentences())


def test_273_000_tokens_of_gpt_55_stand_just_past_and_trimming_halves_them():
    guard = cliff_guard(price_sheet("openai", "gpt-5.5", AT), Usage(prompt_tokens=273_000))
    assert guard.just_past and guard.trim_tokens == 1_000
    assert guard.trimmed_usd == Decimal("1.36") and guard.saving_usd == Decimal("1.37")
    assert guard.surcharge_usd == Decimal("1.365")
    assert guard.per_trimmed_token_usd == Decimal("0.00137")
    assert guard.even_tokens == 546_000  # at five dollars so many tokens cost what 273,000 cost at ten


def test_far_past_the_line_is_not_just_past():
    sheet = price_sheet("openai", "gpt-5.5", AT)
    assert not cliff_guard(sheet, Usage(prompt_tokens=600_000)).just_past
    assert cliff_guard(sheet, Usage(prompt_tokens=600_000), just_past=0.6).just_past


def test_trimming_takes_fresh_tokens_first_and_cached_ones_last():
    usage = Usage(prompt_tokens=100, cached_tokens=50, write_5m_tokens=20, write_1h_tokens=10)
    parts = [
        (one.fresh_tokens, one.write_5m_tokens, one.write_1h_tokens, one.cached_tokens)
        for one in (usage.trimmed(count) for count in (0, 15, 30, 45, 60))
    ]
    assert parts == [(20, 20, 10, 50), (5, 20, 10, 50), (0, 10, 10, 50), (0, 0, 5, 50), (0, 0, 0, 40)]
    assert usage.trimmed(45).prompt_tokens == 55


def test_several_tiers_are_seen_one_after_another():
    sheet = price_sheet("alibaba", "qwen3-coder-plus", AT)
    guard = cliff_guard(sheet, Usage(prompt_tokens=130_000))
    assert (guard.past_tokens, guard.next_tokens, guard.left_tokens) == (128_000, 256_000, 126_000)
    assert len(guard.sentences()) == 2


def test_a_list_without_tiers_has_no_guard():
    assert cliff_guard(price_sheet("anthropic", "claude-opus-5", AT), Usage(prompt_tokens=900_000)).sentences() == []


def test_writes_are_billed_by_their_life_and_refused_where_there_is_no_price():
    sheet = price_sheet("anthropic", "claude-opus-5", AT)
    assert sheet.cost(Usage(prompt_tokens=1_000_000, write_5m_tokens=1_000_000)).total_usd == Decimal("6.25")
    assert sheet.cost(Usage(prompt_tokens=1_000_000, write_1h_tokens=1_000_000)).total_usd == 10
    with pytest.raises(BadInput, match="one hour"):
        api_bill("openai", "gpt-6.1-sol", 1_000, 0, at=AT, write_1h_tokens=10)
    plain = bill_of(price_sheet("openai", "gpt-5.5", AT), Usage(prompt_tokens=1_000_000, write_5m_tokens=1_000_000))
    assert plain.write_usd == 10 and "no surcharge" in plain.notes[0]


@pytest.mark.parametrize(
    "wrong", [{"cached_tokens": 6, "write_5m_tokens": 5}, {"output_tokens": -1}, {"write_1h_tokens": -1}]
)
def test_parts_that_do_not_fit_are_refused(wrong):
    with pytest.raises(BadInput):
        Usage(prompt_tokens=10, **wrong)
