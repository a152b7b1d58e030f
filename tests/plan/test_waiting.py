"""Percentiles of the first token: against a queue played out, and by hand."""

import heapq
import random

import pytest

from tests.plan.specs import LLAMA_70B
from tests.plan.test_knee import load, sized
from windowtax.base.errors import BadInput
from windowtax.plan.fit import Deployment
from windowtax.plan.knee import Slo, fewest_for, parse_ttft
from windowtax.plan.waiting import Waiting


def played(users: int, prompt_s: float, answer_s: float, requests: int = 60_000) -> list[float]:
    """Times to the first token of users who ask again after an exponential answer; prompts take prompt_s each."""
    dice = random.Random(7)
    coming = [(dice.expovariate(1 / answer_s), user) for user in range(users)]
    heapq.heapify(coming)
    free, times = 0.0, list[float]()
    for _ in range(requests):
        at, user = heapq.heappop(coming)
        free = max(free, at) + prompt_s
        times.append(free - at)
        heapq.heappush(coming, (free + dice.expovariate(1 / answer_s), user))
    return sorted(times[requests // 10 :])


@pytest.mark.parametrize(("users", "answer_s"), [(2, 4.0), (8, 20.0), (8, 8.0), (30, 60.0), (30, 25.0), (100, 120.0)])
def test_percentiles_are_those_of_a_queue_played_out(users: int, answer_s: float) -> None:
    times = played(users, 1.0, answer_s)
    found = Waiting.of(1.0, users, sum(times) / len(times))
    assert found.mean_s == pytest.approx(sum(times) / len(times), rel=1e-6)
    for percent in (50, 75, 90, 95):
        assert found.within_s(percent) == pytest.approx(times[int(len(times) * percent / 100)], rel=0.2), percent
    rare = times[int(len(times) * 0.99)]
    assert 0.95 * rare < found.within_s(99) < 1.3 * rare


def test_one_user_waits_for_nobody() -> None:
    alone = Waiting.of(0.4, 1, 0.4)
    assert alone.mean_s == alone.within_s(1) == alone.within_s(99.9) == 0.4


def test_a_crowd_is_waited_for_whole() -> None:
    """Where reading prompts is all that happens, each waits for all others, of the one being read for half."""
    found = Waiting.of(1.0, 50, 49.5)
    assert found.within_s(1) > 45 and found.within_s(99) <= 50


def test_times_rise_with_the_percentile_and_the_mean_lies_between() -> None:
    point = load(LLAMA_70B, ranks=4).at(40)
    times = [point.ttft_within_s(percent) for percent in range(1, 100)]
    assert times == sorted(times)
    assert times[9] < point.ttft_s < times[97]
    assert load(LLAMA_70B, ranks=4).at(10**6).ttft_within_s(90) is None


def test_a_promise_to_nine_of_ten_takes_more_than_one_of_the_mean() -> None:
    assert parse_ttft("2s") == (2.0, None) and parse_ttft(" p99.5:50ms") == (0.05, 99.5)
    found = load(LLAMA_70B, ranks=4)
    means, shares = (found.most_users_within(Slo(ttft_s=0.8, ttft_percent=percent)) for percent in (None, 90))
    assert shares.users < means.users
    assert shares.ttft_within_s(90) <= 0.8 < found.at(shares.users + 1).ttft_within_s(90)
    wanted, shape = sized(LLAMA_70B, 4096, 256, users=200), [Deployment(tensor_parallel=4)]
    few, many = (fewest_for(wanted, Slo(ttft_s=0.8, ttft_percent=percent), shape) for percent in (None, 99))
    assert few.fit.deployment.accelerators < many.fit.deployment.accelerators
    for wrong in ("90:2s", "p90", "p0:1s", "p100:1s", "px:1s"):
        with pytest.raises(BadInput):
            seconds, percent = parse_ttft(wrong)
            Slo(ttft_s=seconds, ttft_percent=percent)
