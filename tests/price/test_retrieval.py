"""Long context against retrieval: the articles' claims as the fact sheet recomputed them; crossings by brute force."""

import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from windowtax.base.errors import BadInput
from windowtax.price.lists import price_sheet
from windowtax.price.own import OwnMachines, crossing
from windowtax.price.retrieval import (
    Lookup,
    Talk,
    Traffic,
    cached_long_context,
    call_ratio,
    long_context,
    output_for_ratio,
    retrieval,
    session_bill,
    with_extra_calls,
)
from windowtax.price.sheet import Usage

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPUS = price_sheet("anthropic", "claude-opus-5", AT)
QUIET = Talk()

# provider, model, moment, prompt tokens, USD: facts 1c, input only
CALLS = [
    ("openai", "gpt-5.5", AT, 256_000, "1.28"),
    ("openai", "gpt-5.5", AT, 273_000, "2.73"),
    ("openai", "gpt-5.4-pro", AT, 256_000, "7.68"),
    ("anthropic", "claude-opus-4-5", AT, 200_000, "1.00"),
    ("anthropic", "claude-opus-4-6", datetime(2026, 3, 1, tzinfo=UTC), 200_000, "1.00"),
    ("anthropic", "claude-opus-4-7", AT, 200_000, "1.00"),
    ("anthropic", "claude-opus-4-8", AT, 200_000, "1.00"),
    ("anthropic", "claude-opus-5", AT, 200_000, "1.00"),
    ("anthropic", "claude-opus-5-5", AT, 200_000, "0.80"),
    ("anthropic", "claude-opus-4-1", AT, 200_000, "3.00"),
    ("anthropic", "claude-opus-5", AT, 4_000, "0.02"),
    ("deepseek", "deepseek-v4-pro", datetime(2026, 8, 16, 12, tzinfo=UTC), 256_000, "0.11136"),
    ("deepseek", "deepseek-v4-pro", AT, 256_000, "0.16896"),
    ("deepseek", "deepseek-v4-pro", datetime(2026, 11, 20, 2, tzinfo=UTC), 256_000, "0.33792"),
]


@pytest.mark.parametrize(("provider", "model", "at", "prompt", "dollars"), CALLS)
def test_per_call_claims(provider, model, at, prompt, dollars):
    assert price_sheet(provider, model, at).cost(Usage(prompt_tokens=prompt)).total_usd == Decimal(dollars)


@pytest.mark.parametrize(("output", "ratio"), [(0, 50), (500, 31), (1_600, 17.3), (4_000, 9.2)])
def test_seventeen_times_is_a_matter_of_output(output, ratio):
    found = float(call_ratio(OPUS, 200_000, 4_000, output))
    assert round(found, 0 if ratio > 20 else 1) == ratio


def test_the_output_that_makes_a_ratio():
    output = output_for_ratio(OPUS, 200_000, 4_000, 17.3333333)
    assert output is not None and output == pytest.approx(1_600, rel=0.001)
    assert output_for_ratio(OPUS, 200_000, 4_000, 51) is None  # above 50 no output makes it
    past = price_sheet("openai", "gpt-5.5", AT)  # each side by its own tier
    output = output_for_ratio(past, 300_000, 4_000, 20)
    assert output is not None
    assert float(call_ratio(past, 300_000, 4_000, round(output))) == pytest.approx(20, rel=1e-3)


def test_a_session_of_twenty_turns_with_and_without_the_cache():
    plain, cheap = long_context(200_000, 20, QUIET).usd(OPUS), retrieval(12_000, 20, QUIET).usd(OPUS)
    assert (plain, cheap) == (Decimal(20), Decimal("1.2"))  # the articles' two figures; 0.06 a call is 12K of input
    five = cached_long_context(200_000, 20, QUIET, write="5m").usd(OPUS)
    hour = cached_long_context(200_000, 20, QUIET, write="1h").usd(OPUS)
    assert (five, hour) == (Decimal("3.15"), Decimal("3.90"))
    assert round(float(five / cheap), 1) == 2.6 and round(float(hour / cheap), 2) == 3.25


def test_a_thousand_users_pay_a_thousand_dollars_a_turn():
    bill = session_bill(long_context(200_000, 20, QUIET), OPUS, Traffic(users=1_000, turns=20))
    assert bill.per_call_usd * 1_000 == 1_000
    assert bill.month_usd == 20_000
    assert Traffic(users=1_000, turns=20, sessions_per_user_month=30).calls == 600_000


def test_missed_prefixes_are_written_again():
    half = cached_long_context(200_000, 3, QUIET, write="5m", hit_rate=0.5).usd(OPUS)
    assert half == Decimal("1.25") + 2 * (Decimal("0.5") * Decimal("0.1") + Decimal("0.5") * Decimal("1.25"))
    never = cached_long_context(200_000, 3, QUIET, write="5m", hit_rate=0.0).usd(OPUS)
    assert never == 3 * Decimal("1.25")


def test_history_is_read_back_and_the_new_part_written():
    talk = Talk(question_tokens=100, output_tokens=400, history=True)
    turns = cached_long_context(10_000, 3, talk, write="5m").turns
    assert [turn.usage.prompt_tokens for turn in turns] == [10_100, 10_600, 11_100]
    assert [turn.usage.cached_tokens for turn in turns] == [0, 10_100, 10_600]
    assert [turn.usage.write_5m_tokens for turn in turns] == [10_100, 500, 500]
    assert [turn.usage.prompt_tokens for turn in long_context(10_000, 3, talk).turns] == [10_100, 10_600, 11_100]


def test_a_growing_session_falls_off_the_cliff():
    sheet = price_sheet("openai", "gpt-5.5", AT)
    talk = Talk(question_tokens=1_000, output_tokens=1_000, history=True)
    below, above = (long_context(start, 2, talk).usd(sheet) for start in (269_000, 270_000))
    assert below < Decimal("2.8") and above > Decimal("4.1")  # the second turn has 272,000 or 273,000 tokens


def test_two_step_retrieval_saves_what_the_article_says_if_three_records_are_fetched():
    full, two = Lookup(), Lookup(fetched=3)
    assert (full.tokens, Lookup(fetched=0).tokens, two.tokens) == (15_000, 450, 4_950)
    assert (full.tokens - two.tokens) * 20 == 201_000  # the article's "around 200,000"
    assert (full.tokens - Lookup(fetched=0).tokens) * 20 == 291_000  # what its two figures give
    once = [retrieval(one.tokens, 20, QUIET).prompt_tokens for one in (full, two)]
    assert once[0] - once[1] == 201_000
    staying = [retrieval(one.tokens, 20, QUIET, stays=True).prompt_tokens for one in (full, two)]
    assert staying[0] - staying[1] == 2_110_500


def test_summarisation_tiers_add_twenty_calls_to_every_turn():
    plain = retrieval(4_000, 20, QUIET)
    extra = Usage(prompt_tokens=2_000, output_tokens=200)
    more = with_extra_calls(plain, 20, extra).usd(OPUS) - plain.usd(OPUS)
    assert more == 20 * 20 * (2_000 * Decimal(5) + 200 * Decimal(25)) / 1_000_000


@pytest.mark.parametrize("seed", range(40))
def test_owning_wins_where_trying_every_volume_says(seed):
    rent, rate, api = 1 + seed % 7, 0.02 + 0.013 * (seed % 5), 20 + 5.3 * seed
    machines = OwnMachines(usd_per_hour=rent, calls_per_hour=rate, utilisation=0.5 + 0.1 * (seed % 4))
    found = crossing(machines, api)
    tried = [calls / 4 for calls in range(1, 4_000)]
    wins = [machines.usd(calls) <= api * calls + 1e-9 for calls in tried]
    if found is None:
        assert machines.full_call_usd > api and not any(wins)
        return
    assert found.first_calls == pytest.approx(tried[wins.index(True)], abs=0.26)
    if math.isfinite(found.always_calls) and found.always_calls < tried[-1] * 0.8:
        lost = [calls for calls, won in zip(tried, wins, strict=True) if not won]
        assert found.always_calls == pytest.approx(lost[-1], abs=0.51)


def test_machines_that_stand_idle_cost_the_same():
    machines = OwnMachines(usd_per_hour=2, calls_per_hour=10)
    assert machines.month_usd == 1_460 and machines.month_calls == 7_300
    assert [machines.groups(calls) for calls in (0, 1, 7_300, 7_301)] == [1, 1, 1, 2]
    assert machines.usd(7_301) == 2_920


@pytest.mark.parametrize(
    "make",
    [
        lambda: Traffic(users=0, turns=1),
        lambda: cached_long_context(1, 1, QUIET, write="2h"),
        lambda: cached_long_context(1, 1, QUIET, hit_rate=1.5),
        lambda: OwnMachines(usd_per_hour=1, calls_per_hour=0),
        lambda: OwnMachines(usd_per_hour=1, calls_per_hour=1, utilisation=1.2),
        lambda: call_ratio(OPUS, 1, 0, 0),
    ],
)
def test_senseless_questions_are_refused(make):
    with pytest.raises(BadInput):
        make()
