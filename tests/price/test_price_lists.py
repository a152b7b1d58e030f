"""Price lists against the fact sheet's tables: both sides of tiers, own lists, dates and times of day, litellm."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.price.lists import PriceList, daily_windows, price_changes, price_list_names, price_sheet
from windowtax.price.litellm import SELLERS, cross_check, litellm_rates, litellm_rows
from windowtax.price.own_lists import FOLDER, memory_tiers, own_lists, read_list, storage_price
from windowtax.price.sheet import RATE_NAMES, Usage

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIERS = [
    line.split("\t")
    for line in (Path(__file__).parent / "data" / "length_tiers.tsv").read_text(encoding="utf-8").splitlines()[3:]
]

# dashscope, alibaba, volcengine bands of the fact sheet: model, then (above, input, output) of every band.
# qwen3.7-plus stands there at litellm's list price; our list has the campaign price of 80 % of it.
OWN_BANDS = [
    ("dashscope", "qwen3-coder-plus", [(0, 1, 5), (32_000, 1.8, 9), (128_000, 3, 15), (256_000, 6, 60)], 1),
    ("dashscope", "qwen3-coder-flash", [(0, 0.3, 1.5), (32_000, 0.5, 2.5), (128_000, 0.8, 4), (256_000, 1.6, 9.6)], 1),
    ("alibaba", "qwen3-coder-480b-a35b-instruct", [(0, 1.5, 7.5), (32_000, 2.7, 13.5), (128_000, 4.5, 22.5)], 1),
    ("alibaba", "qwen3-coder-30b-a3b-instruct", [(0, 0.45, 2.25), (32_000, 0.75, 3.75), (128_000, 1.2, 6)], 1),
    ("dashscope", "qwen3-max", [(0, 1.2, 6), (32_000, 2.4, 12), (128_000, 3, 15)], 1),
    ("dashscope", "qwen3-vl-plus", [(0, 0.2, 1.6), (32_000, 0.3, 2.4), (128_000, 0.6, 4.8)], 1),
    ("dashscope", "qwen3.5-plus", [(0, 0.4, 2.4), (256_000, 0.5, 3)], 1),
    ("dashscope", "qwen3.7-plus", [(0, 0.4, 1.6), (256_000, 1.2, 4.8)], 0.8),
    ("dashscope", "qwen-plus", [(0, 0.4, 1.2), (256_000, 1.2, 3.6)], 1),
    ("dashscope", "qwen-flash", [(0, 0.05, 0.4), (256_000, 0.25, 2)], 1),
    ("volcengine", "doubao-seed-2.0-pro", [(0, 0.46, 2.3), (32_000, 0.7, 3.5), (128_000, 1.4, 7)], 1),
]


@pytest.mark.parametrize("row", TIERS, ids=lambda row: f"{row[0]}/{row[1]}@{row[2]}")
def test_both_sides_of_every_tier(row):
    sheet, threshold = price_sheet(row[0], row[1], AT), int(row[2])
    assert threshold in {cliff.above_tokens for cliff in sheet.cliffs}
    for side in (0, 1):
        rates = sheet.rates(threshold + side)
        found = (rates.input, rates.output, rates.cache_read, rates.write_5m)
        assert found == tuple(None if one == "-" else Decimal(one) for one in row[3 + side :: 2])


def test_the_table_of_tiers_is_whole():
    assert len(TIERS) == 57
    assert len({row[0] for row in TIERS}) == 10


@pytest.mark.parametrize(("provider", "model", "bands", "factor"), OWN_BANDS)
def test_own_bands(provider, model, bands, factor):
    sheet = price_sheet(provider, model, AT)
    assert [0, *(cliff.above_tokens for cliff in sheet.cliffs)] == [above for above, _, _ in bands]
    for above, dollars_in, dollars_out in bands:
        rates = sheet.rates(above + 1)
        assert (float(rates.input), float(rates.output)) == pytest.approx((dollars_in * factor, dollars_out * factor))
        assert sheet.rates(above) == (sheet.rates(above - 1) if above else sheet.base)


@pytest.mark.parametrize(
    ("day", "prompt", "dollars_in", "dollars_out"),
    [
        ("2026-04-30", 200_001, "2", "6"),  # the fact sheet's >200K side, models.dev 2026-04-26
        ("2026-05-20", 200_001, "1", "3"),  # the line moved to 256,000
        ("2026-05-20", 256_001, "2", "6"),
        ("2026-11-20", 900_000, "0.435", "0.87"),  # and went on 2026-06-29, at a lower flat price
    ],
)
def test_xiaomi_moved_its_line_and_then_dropped_it(day, prompt, dollars_in, dollars_out):
    rates = price_sheet("xiaomi", "mimo-v2.5-pro", datetime.fromisoformat(day)).rates(prompt)
    assert (rates.input, rates.output) == (Decimal(dollars_in), Decimal(dollars_out))


@pytest.mark.parametrize(
    ("model", "above"), [("claude-opus-4-6", ("10", "37.5")), ("claude-sonnet-4-6", ("6", "22.5"))]
)
def test_the_200k_tier_of_the_46_generation_ended_on_a_day(model, above):
    before, after = (price_sheet("anthropic", model, datetime(2026, 3, day, tzinfo=UTC)) for day in (12, 13))
    assert (before.rates(200_001).input, before.rates(200_001).output) == tuple(map(Decimal, above))
    assert before.rates(200_000) == after.rates(200_000) == after.rates(1_000_000)
    assert after.cliffs == ()
    assert price_changes("anthropic", model) == (datetime(2026, 3, 13, tzinfo=UTC),)


@pytest.mark.parametrize(
    ("moment", "dollars"),
    [
        ("2026-11-20T00:59", "0.66"),
        ("2026-11-20T01:00", "1.32"),
        ("2026-11-20T03:59", "1.32"),
        ("2026-11-20T04:00", "0.66"),
        ("2026-11-20T06:00", "1.32"),
        ("2026-11-20T10:00", "0.66"),
        ("2026-11-20T09:00+08:00", "1.32"),  # 01:00 UTC
        ("2026-11-21T02:00", "0.66"),  # a Saturday in Beijing
        ("2026-11-22T16:30", "0.66"),  # already Monday there, and off-peak
        ("2026-08-22T02:00", "1.32"),  # a Saturday before weekends became off-peak
        ("2026-08-16T02:00", "0.435"),  # peak hours did not exist before 2026-08-17
    ],
)
def test_deepseek_by_time_of_day(moment, dollars):
    assert price_sheet("deepseek", "deepseek-v4-pro", datetime.fromisoformat(moment)).base.input == Decimal(dollars)


def test_peak_windows_are_told():
    assert [f"{start:%H}-{end:%H}" for start, end in daily_windows("deepseek", "deepseek-v4-pro")] == ["01-04", "06-10"]
    assert daily_windows("openai", "gpt-5.5") == ()


@pytest.mark.parametrize(
    ("provider", "model", "factor"),
    [("anthropic", "claude-opus-5", 2), ("openai", "gpt-5.5", 2), ("google", "gemini-2.5-pro", 2)],
)
def test_batch_halves_what_the_seller_says_it_halves(provider, model, factor):
    plain, batch = (price_sheet(provider, model, AT, service) for service in ("standard", "batch"))
    assert batch.base.input * factor == plain.base.input
    assert batch.base.output * factor == plain.base.output
    # Gemini's cache reads stay at the standard rate in a batch, Claude's and GPT's do not.
    assert batch.base.cache_read == (plain.base.cache_read if provider == "google" else plain.base.cache_read / factor)


def test_a_service_without_a_price_is_refused():
    with pytest.raises(BadInput, match="no batch price"):
        price_sheet("anthropic", "claude-opus-5", datetime(2026, 1, 1, tzinfo=UTC), "batch")
    with pytest.raises(BadInput, match="no batch prices"):
        price_sheet("alibaba", "qwen-plus", AT, "batch")
    with pytest.raises(UnknownName, match="standard, batch"):
        price_sheet("openai", "gpt-5.5", AT, "economy")


def test_a_tier_that_is_only_history_is_told():
    sheet = price_sheet("anthropic", "claude-sonnet-4-5", AT)
    assert any("historical" in note for note in sheet.usage_notes(Usage(prompt_tokens=200_001)))
    assert not list(sheet.usage_notes(Usage(prompt_tokens=200_000)))


def test_gemini_rents_its_cache_by_the_hour():
    found = storage_price("google", "gemini-2.5-pro", AT)
    assert found is not None and found[0] == Decimal("4.5") and "ai.google.dev" in found[1]
    flash = [storage_price("google", "gemini-3.8-flash", datetime(year, 1, 1, tzinfo=UTC)) for year in (2026, 2027)]
    assert [one[0] for one in flash if one] == [Decimal("0.5"), Decimal("1")]
    assert storage_price("openai", "gpt-5.5", AT) is None


def test_every_own_list_has_sources_dates_and_tiers_that_rise():
    assert {one.provider for one in own_lists()} == {"alibaba", "volcengine", "xiaomi"}
    for one in own_lists():
        for entry in one.entries:
            assert entry.source and datetime.fromisoformat(entry.checked)
            inputs = [band.rates.input for band in entry.bands]
            assert inputs == sorted(inputs)
    assert set(memory_tiers()) == {"dram", "ssd", "object"}


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('unit = "USD per million tokens"', 'unit = "CNY per million tokens"', "unit"),
        ("input = 2,", 'input = "2",', "not a price"),
        ("above = 200_000, input = 2,", "above = 200_000, inputs = 2,", "inputs"),
        ('source = "model_prices"', 'source = "hearsay"', "hearsay"),
        ("valid_from = 2026-05-12", "valid_from = 2026-04-26", "order"),
        ("above = 0, input = 1,", "above = 5, input = 1,", "above = 0"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path, old, new, error):
    text = (FOLDER / "xiaomi.toml").read_text(encoding="utf-8")
    assert old in text
    wrong = tmp_path / "xiaomi.toml"
    wrong.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises((BadInput, UnsupportedModel), match=error):
        read_list(wrong)


def test_a_list_is_written_as_seller_and_model():
    assert PriceList.parse("openrouter/qwen/qwen-plus") == PriceList("openrouter", "qwen/qwen-plus")
    with pytest.raises(BadInput, match="PROVIDER/MODEL"):
        PriceList.parse("gpt-5.5")


# --- the cross-check ------------------------------------------------------------------------------------------------

KNOWN_DIFFERENCES = {
    "alibaba/qwen-plus",  # litellm's row of that name has no bands
    "alibaba/qwen3-coder-flash",  # cache reads: explicit 10 % or implicit 20 %
    "alibaba/qwen3-coder-plus",
    "alibaba/qwen3.7-plus",  # campaign price here, list price there
    "anthropic/claude-sonnet-4-5",  # the historical tier
    "deepseek/deepseek-chat",  # litellm keeps one price, the peak one
    "deepseek/deepseek-flash",
    "deepseek/deepseek-reasoner",
    "deepseek/deepseek-v3.2",
    "deepseek/deepseek-v4-flash",
    "deepseek/deepseek-v4-pro",
    "mistral/mistral-large-4",
    "openai/gpt-5.6-cyber",  # genai-prices has no tier for it
    "x-ai/grok-code-fast-1",
}


def test_litellm_agrees_wherever_it_is_not_known_to_differ():
    agreed: set[str] = set()
    differing: set[str] = set()
    for name in litellm_rows():
        provider, _, model = name.partition("/")
        try:
            sheet = price_sheet(provider, model, AT)
        except UnknownName:
            continue
        if sheet.model != model:
            continue
        checks = [cross_check(sheet, tokens) for tokens in (1_000, 199_999, 200_000, 250_000, 300_000, 600_000)]
        (differing if any(check.verdict == "differs" for check in checks) else agreed).add(name)
    assert differing == KNOWN_DIFFERENCES
    assert len(agreed) > 110


def test_litellm_is_not_asked_about_other_days_and_services():
    assert cross_check(price_sheet("openai", "gpt-5.5", datetime(2026, 6, 1, tzinfo=UTC))).verdict == "not listed"
    assert cross_check(price_sheet("openai", "gpt-5.5", AT, "batch")).verdict == "not listed"


def test_litellm_rows_say_what_they_are():
    assert (FOLDER / "litellm.json").stat().st_size < 300_000
    assert "MIT License" in (FOLDER / "litellm.LICENSE").read_text(encoding="utf-8")
    for name, row in litellm_rows().items():
        assert name.partition("/")[0] in set(SELLERS.values())
        assert [band["above"] for band in row["bands"]] == sorted(band["above"] for band in row["bands"])
        rates = litellm_rates(row, 1)
        assert all(getattr(rates, field) is None or getattr(rates, field) >= 0 for field in RATE_NAMES)


def test_every_name_to_choose_from_is_a_list_with_both_prices():
    names = price_list_names()
    assert list(names) == sorted(set(names)) and {"anthropic/claude-opus-5", "google/gemini-2.5-pro"} <= set(names)
    for name in names[::23]:
        entry = PriceList.parse(name)
        rates = price_sheet(entry.provider, entry.model).base
        assert rates.input is not None and rates.output is not None, name
