"""Percentiles of the first token: against a queue played out, and by hand."""

import heapq
import random
from collections import deque

import pytest

from tests.plan.specs import LLAMA_70B
from tests.plan.test_knee import load, sized
from windowtax.base.errors import BadInput
from windowtax.plan.fit import Deployment
from windowtax.plan.knee import Slo, fewest_for, parse_promise
from windowtax.plan.waiting import Between, Waiting


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


def answered(users: int, steps: int, prompt_s: float, step_s: float, answers: int = 3000) -> list[float]:
    """Times per token of answers of `steps` tokens, among as many of other lengths, by users who ask again at once.

    One prompt is read at a time, all that decode get a token beside it.
    """
    dice, queue, now, times = random.Random(5), deque(range(users)), 0.0, list[float]()
    left, length, began = [0] * users, [0] * users, [0.0] * users
    while len(times) < answers:
        reading = queue.popleft() if queue else None
        now += step_s if reading is None else prompt_s
        for user in (user for user in range(users) if left[user]):
            left[user] -= 1
            if not left[user]:
                queue.append(user)
                times += [(now - began[user]) / steps] if length[user] == steps else []
        if reading is not None:
            length[reading] = left[reading] = steps if dice.random() < 0.5 else 1 + int(dice.expovariate(1 / steps))
            began[reading] = now
    return sorted(times[answers // 10 :])


@pytest.mark.parametrize(
    ("users", "steps", "prompt_s", "step_s"), [(10, 255, 0.6, 0.02), (10, 255, 0.1, 0.02), (40, 255, 0.1, 0.02)]
)
def test_times_per_token_are_those_of_answers_played_out(users, steps, prompt_s, step_s) -> None:
    """The mean to 2 %; percentiles not below, and at most 15 % above."""
    times = answered(users, steps, prompt_s, step_s)
    found = Between(steps, step_s, prompt_s, 1, users - 1)
    assert found.tpot_s == pytest.approx(sum(times) / len(times), rel=0.02)
    for percent in (75, 90, 95, 99):
        seen = times[int(len(times) * percent / 100)]
        assert seen < found.within_s(percent) < 1.15 * seen, percent


def test_many_others_are_counted_as_few_are() -> None:
    """Poisson's numbers, and from 500 on those of the normal curve: no step between them."""
    below, above = (Between(100_000, 0.01, 0.02, 1, others) for others in (499, 500))
    for percent in (1, 50, 90, 99):
        assert above.within_s(percent) == pytest.approx(below.within_s(percent), rel=1e-3)


def test_alone_every_answer_takes_the_same_time_per_token() -> None:
    alone = Between(100, 0.02, 0.5, 3, 0)
    assert alone.tpot_s == alone.within_s(1) == alone.within_s(99) == 0.02
    assert Between(0, 0.02, 0.5, 3, 7).within_s(90) == 0.02


def test_a_promise_of_time_per_token_may_be_a_percentile() -> None:
    found = load(LLAMA_70B, ranks=4)
    means, shares = (found.most_users_within(Slo(tpot_s=0.03, tpot_percent=percent)) for percent in (None, 99))
    assert shares.users < means.users
    assert shares.tpot_within_s(99) <= 0.03 < found.at(shares.users + 1).tpot_within_s(99)
    assert Slo(tpot_s=0.03, tpot_percent=99, ttft_s=2).words == "mean TTFT <= 2.00 s and TPOT p99 <= 30.00 ms"
    with pytest.raises(BadInput, match="p100"):
        Slo(tpot_s=0.03, tpot_percent=100)


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
    assert parse_promise("2s") == (2.0, None) and parse_promise(" p99.5:50ms") == (0.05, 99.5)
    found = load(LLAMA_70B, ranks=4)
    means, shares = (found.most_users_within(Slo(ttft_s=0.8, ttft_percent=percent)) for percent in (None, 90))
    assert shares.users < means.users
    assert shares.ttft_within_s(90) <= 0.8 < found.at(shares.users + 1).ttft_within_s(90)
    wanted, shape = sized(LLAMA_70B, 4096, 256, users=200), [Deployment(tensor_parallel=4)]
    few, many = (fewest_for(wanted, Slo(ttft_s=0.8, ttft_percent=percent), shape) for percent in (None, 99))
    assert few.fit.deployment.accelerators < many.fit.deployment.accelerators
    for wrong in ("90:2s", "p90", "p0:1s", "p100:1s", "px:1s"):
        with pytest.raises(BadInput):
            seconds, percent = parse_promise(wrong)
            Slo(ttft_s=seconds, ttft_percent=percent)
