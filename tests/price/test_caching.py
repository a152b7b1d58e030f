"""Prompt-caching break-evens against the fact sheet's table 1c, and against costs added up call by call."""

import math
import random
from datetime import UTC, datetime

import pytest

from windowtax.base.errors import BadInput
from windowtax.price.caching import (
    FIVE_MINUTES_S,
    HOUR_S,
    Gaps,
    Multipliers,
    choices,
    crossover_calls,
    crossover_gap_s,
    multipliers,
    plain_conversation_cost,
    rented,
)
from windowtax.price.lists import price_sheet

AT = datetime(2026, 11, 21, tzinfo=UTC)
FIVE = Multipliers(name="5 min", write=1.25, read=0.1, ttl_s=FIVE_MINUTES_S)
HOUR = Multipliers(name="1 h", write=2.0, read=0.1, ttl_s=HOUR_S)

# The fact sheet's table: w, r, life; k*, whole reads, h*; pre-warm reads and hit rate; turns; longest mean gap in min
TABLE = [
    (1.25, 0.1, 300, 0.278, 1, 0.217, 1.389, 0.581, 1.56, 20.4),
    (2.0, 0.1, 3600, 1.111, 2, 0.526, 2.222, 0.690, 3.22, 80.3),
    (1.25, 0.05, 300, 0.263, 1, 0.208, 1.316, None, 1.53, 21.4),
    (2.0, 0.05, 3600, 1.053, 2, 0.513, 2.105, 0.678, 3.11, 83.4),
    (2.0, 0.025, 3600, 1.026, 2, 0.506, 2.051, 0.672, 3.05, 85.0),
]


@pytest.mark.parametrize(("w", "r", "life", "k", "whole", "h", "pre", "pre_hit", "turns", "gap"), TABLE)
def test_the_table_of_break_evens(w, r, life, k, whole, h, pre, pre_hit, turns, gap):
    tier = Multipliers(name="x", write=w, read=r, ttl_s=life)
    assert (round(tier.reads_per_write, 3), tier.whole_reads, round(tier.hit_rate, 3)) == (k, whole, h)
    assert round(tier.prewarm_reads, 3) == pre
    assert pre_hit is None or round(tier.prewarm_hit_rate, 3) == pre_hit
    assert round(tier.turns, 2) == turns
    assert round(tier.longest_poisson_gap_s / 60, 1) == gap


def test_the_articles_two_figures_come_from_two_questions():
    assert round(FIVE.prewarm_reads, 1) == 1.4  # article 1's reads per write is the pre-warm figure
    assert FIVE.reads_per_write < 0.3  # and five times what ordinary use needs
    assert round(HOUR.whole_reads / (HOUR.whole_reads + 1), 2) == 0.67  # its 67 % is two whole reads
    assert round(HOUR.hit_rate, 2) == 0.53


@pytest.mark.parametrize("tier", [FIVE, HOUR])
def test_break_evens_are_where_costs_added_up_call_by_call_cross(tier):
    for reads in (tier.reads_per_write * 0.99, tier.reads_per_write * 1.01):
        assert (tier.write + reads * tier.read < 1 + reads) == (reads > tier.reads_per_write)
    for reads in (tier.prewarm_reads * 0.99, tier.prewarm_reads * 1.01):
        assert (tier.write + reads * tier.read < reads) == (reads > tier.prewarm_reads)
    assert tier.call_cost(tier.hit_rate) == pytest.approx(1)
    first = tier.first_paying_turn()
    assert first == math.ceil(tier.turns)
    for turns in range(1, 12):
        paid = sum(tier.write + tier.read * earlier for earlier in range(turns))
        assert tier.conversation_cost(turns) == pytest.approx(paid)
        assert plain_conversation_cost(turns) == sum(turn + 1 for turn in range(turns))
        assert (paid <= plain_conversation_cost(turns)) == (turns >= first)


def test_a_shared_prefix_makes_a_conversation_pay_sooner():
    assert HOUR.first_paying_turn(prefix=10) == 3
    turns, prefix = 3, 10
    paid = HOUR.write * (prefix + 1) + sum(HOUR.write + HOUR.read * (prefix + turn) for turn in range(1, turns))
    assert HOUR.conversation_cost(turns, prefix) == pytest.approx(paid)


@pytest.mark.parametrize(
    ("gap_min", "calls", "digits"), [(1, 98, 0), (2, 9, 0), (3, 4.5, 1), (5, 2.8, 1), (10, 2.1, 1)]
)
def test_sessions_from_which_the_longer_life_wins(gap_min, calls, digits):
    gaps = Gaps(mean_s=gap_min * 60)
    found = crossover_calls(FIVE, HOUR, gaps)
    assert found is not None and round(found, digits) == calls
    for count in (math.floor(found), math.ceil(found) + 1):
        costs = [tier.session_cost(count, gaps.hit_rate(tier.ttl_s)) for tier in (FIVE, HOUR)]
        assert (costs[1] < costs[0]) == (count > found)


def test_in_the_long_run_an_hour_wins_below_a_mean_gap_of_109_minutes():
    gap = crossover_gap_s(FIVE, HOUR)
    assert gap is not None and round(gap / 60, 1) == 109.5
    for mean_s in (gap * 0.99, gap * 1.01):
        gaps = Gaps(mean_s=mean_s)
        five, hour = (tier.call_cost(gaps.hit_rate(tier.ttl_s)) for tier in (FIVE, HOUR))
        assert (hour < five) == (mean_s < gap)
        assert min(five, hour) > 1  # caching itself stopped paying at 80 minutes


def test_poisson_hit_rates_are_those_of_drawn_gaps():
    draw = random.Random(7)
    drawn = Gaps.of([draw.expovariate(1 / 180) for _ in range(40_000)])
    assert drawn.hit_rate(300) == pytest.approx(Gaps(mean_s=180).hit_rate(300), abs=0.01)
    assert Gaps(mean_s=180, poisson=False).hit_rate(179) == 0
    assert Gaps(mean_s=180, poisson=False).hit_rate(180) == 1


def test_ways_are_sorted_and_long_pauses_are_better_without_a_cache():
    assert [way.name for way in choices([FIVE, HOUR], Gaps(mean_s=60))] == ["1 h", "5 min", "no cache"]
    assert choices([FIVE, HOUR], Gaps(mean_s=3 * HOUR_S))[0].name == "no cache"
    assert choices([FIVE, HOUR], Gaps(mean_s=60), calls=1)[0].name == "no cache"


def test_keeping_alive_by_reads_costs_what_a_new_write_would():
    pauses = FIVE.keep_alive_s / FIVE.ttl_s
    assert pauses * FIVE.read == pytest.approx(FIVE.write - FIVE.read)
    assert FIVE.keep_alive_s / 60 == pytest.approx(57.5)


def test_multipliers_are_read_from_lists():
    claude = multipliers(price_sheet("anthropic", "claude-opus-5", AT))
    assert [(one.name, one.write, one.read, one.ttl_s) for one in claude] == [
        ("5 min", 1.25, 0.1, 300),
        ("1 h", 2.0, 0.1, 3600),
    ]
    sol = multipliers(price_sheet("openai", "gpt-6.1-sol", AT))
    assert [(one.name, one.write, one.read) for one in sol] == [("write", 1.25, 0.05)]
    old = multipliers(price_sheet("openai", "gpt-5.5", AT))  # no surcharge until GPT-5.6
    assert [(one.name, one.write, one.reads_per_write) for one in old] == [("automatic", 1.0, 0.0)]
    with pytest.raises(BadInput, match="no price for cache reads"):
        multipliers(price_sheet("openai", "gpt-5.4-pro", AT))


def test_a_rented_cache_needs_reads_by_the_hour():
    rent = rented(price_sheet("google", "gemini-2.5-pro", AT))
    assert rent is not None and rent.storage == pytest.approx(4.5 / 1.25)
    assert rent.reads_per_hour == pytest.approx(4.0)  # 4.50 USD against 1.125 saved per read
    hours, reads = 2.0, rent.reads_for(2.0)
    assert 1.25 + 4.5 * hours + 0.125 * reads == pytest.approx(1.25 * reads)
    assert rented(price_sheet("openai", "gpt-5.5", AT)) is None


@pytest.mark.parametrize("wrong", [{"read": 1.0}, {"read": -0.1}, {"write": -1.0}, {"ttl_s": 0.0}])
def test_senseless_multipliers_are_refused(wrong):
    with pytest.raises(BadInput):
        Multipliers(**({"name": "x", "write": 1.25, "read": 0.1, "ttl_s": 300.0} | wrong))


def test_senseless_gaps_are_refused():
    for gaps in ([], [-1.0]):
        with pytest.raises(BadInput):
            Gaps.of(gaps)
    with pytest.raises(BadInput):
        Gaps(mean_s=math.inf)
