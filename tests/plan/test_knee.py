"""Load, knee and promises: by hand and by what must hold of any queue."""

from itertools import pairwise

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_70B, MIXTRAL
from tests.plan.test_fit import sizing
from windowtax.base.errors import BadInput
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.knee import Load, Slo, fewest_for
from windowtax.plan.schemes import SCHEMES
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.workload import Workload


def sized(spec, prompt, output, cache="bf16", weights="fp8", users=1, chunk=8192):
    return Sizing(
        spec=spec,
        hardware=hardware("h100"),
        workload=Workload(context_tokens=prompt + output, output_tokens=output, users=users),
        scheme=SCHEMES[weights],
        dtype=cache_dtype(cache),
        block_size=16,
        chunk_tokens=chunk,
    )


def load(spec, ranks=1, prompt=4096, output=256, **more):
    return Load.of(sized(spec, prompt, output, **more), Deployment(tensor_parallel=ranks))


def test_one_user_alone_sees_the_roofline():
    found = load(LLAMA_8B)
    point, rank = found.at(1), found.group.rank
    assert point.ttft_s == pytest.approx(rank.prefill(4096, 0, 8192).overlap_s, rel=0.02)
    assert point.tpot_s == pytest.approx(rank.decode(4096 + 128, 1).overlap_s, rel=0.02)
    assert point.output_tokens_per_s == pytest.approx(256 / (point.ttft_s + 255 * point.tpot_s))


def test_littles_law_holds_at_every_load():
    found = load(LLAMA_70B, ranks=4)
    for users in (1, 7, 40, found.most_in_flight, 5 * found.most_in_flight):
        point = found.at(users)
        assert users == pytest.approx(point.requests_per_s * (point.ttft_s + 255 * point.tpot_s), rel=1e-6)
        assert point.waits == (users > found.most_in_flight)


def test_latencies_rise_and_throughput_does_not_fall():
    points = load(LLAMA_70B, ranks=4).curve()
    for earlier, later in pairwise(points):
        assert later.ttft_s >= earlier.ttft_s and later.tpot_s >= earlier.tpot_s
        assert later.output_tokens_per_s >= earlier.output_tokens_per_s * 0.999
    assert points[-1].waits and not points[-2].waits


def test_without_prompts_the_knee_is_where_shared_and_own_time_are_equal():
    """Power B / (a + b B)^2 is largest at B = a / b. A short prompt and a long answer come near that."""
    found = load(LLAMA_8B, prompt=16, output=40_000, weights="bf16")
    one, two = found.at(1).tpot_s, found.at(2).tpot_s
    shared, own = 2 * one - two, two - one
    if shared / own < found.most_in_flight:
        assert found.knee.users == pytest.approx(shared / own, rel=0.2)
    else:
        assert found.knee.users == found.most_in_flight


def test_long_prompts_are_sampled_near_enough():
    found = load(LLAMA_8B, prompt=1_000_000, output=100, chunk=2048, cache="fp8", weights="fp8", ranks=8)
    exact = sum(
        found.group.step_s(1_000_050, 3, min(2048, 1_000_000 - start), start) for start in range(0, 1_000_000, 2048)
    )
    assert found._prompt_s(3) == pytest.approx(exact, rel=0.005)


def test_a_promise_bounds_the_users():
    found = load(LLAMA_70B, ranks=4)
    slo = Slo(tpot_s=0.030)
    most = found.most_users_within(slo)
    assert most.tpot_s <= 0.030 < found.at(most.users + 1).tpot_s
    assert found.most_users_within(Slo(tpot_s=0.001)) is None
    assert found.most_users_within(Slo()).users == found.most_in_flight
    with pytest.raises(BadInput):
        Slo(ttft_s=0)


def test_gpus_for_a_promise_are_the_fewest_that_keep_it():
    wanted = sized(LLAMA_70B, 4096, 256, users=200)
    shapes = [Deployment(tensor_parallel=ranks) for ranks in (2, 4, 8)]
    loose, tight = (fewest_for(wanted, Slo(ttft_s=2, tpot_s=tpot), shapes) for tpot in (0.1, 0.015))
    assert loose.fit.deployment.accelerators < tight.fit.deployment.accelerators
    for promise in (loose, tight):
        assert promise.fit.fits and promise.slo.kept(promise.point)
        assert promise.fit.deployment.replicas * promise.users_per_replica >= 200
    assert fewest_for(wanted, Slo(tpot_s=0.001), shapes) is None


def test_what_holds_no_window_has_no_load():
    with pytest.raises(BadInput):
        Load.of(sizing(LLAMA_70B), Deployment(tensor_parallel=1))


def test_replicas_of_a_mixture_share_experts():
    alone = Load.of(sized(MIXTRAL, 4096, 256, users=8), Deployment(tensor_parallel=1))
    shared = Load.of(sized(MIXTRAL, 4096, 256, users=8), Deployment(tensor_parallel=1, expert_parallel=8))
    assert shared.most_in_flight > 8 * alone.most_in_flight
