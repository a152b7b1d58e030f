"""What our engine reaches is kept beside what the machine can do, and becomes the planner's efficiencies."""

import json
from dataclasses import replace

import pytest
from tests.catalog_hardware.test_machine import RECORD
from tests.plan.specs import SMOLLM_135M

from windowtax.catalog.machine import EngineRates, load_machine, load_record, machine_hardware, save_machine
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.plan.roofline import Rank
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.hardware import read_rate
from windowtax.spec.workload import Workload

ENGINE = EngineRates(
    level="avx2",
    weight_bytes_per_s={"bf16": 1.5e10, "int4": 1.2e10},
    cache_bytes_per_s={"bf16": 1e10, "int8": 5e9},
    product_flops_per_s=1e11,
    attention_flops_per_s=5e10,
    layer_overhead_s=1e-5,
    step_overhead_s=2e-4,
)
FULL = replace(
    RECORD,
    read_curve=((1 << 20, 2, 9e10), (1 << 24, 2, 2e10), (1 << 20, 1, 4e10), (1 << 24, 1, 1e10)),
    peaks_by_level={"portable": {"fp32": 1e10}, "avx2": {"fp32": 1e11}},
    engine=ENGINE,
)


def rank(hardware, cache: str = "bf16", weights: str = "bf16") -> Rank:
    scheme = weight_scheme(weights, SMOLLM_135M)
    return Rank(
        spec=SMOLLM_135M,
        hardware=hardware.for_cache(cache),
        scheme=scheme,
        weights=WeightBytes.of(SMOLLM_135M, scheme),
        layout=SMOLLM_135M.layout(cache_dtype(cache)),
    )


def test_all_of_it_is_read_back(tmp_path):
    save_machine(FULL, tmp_path)
    assert load_record(tmp_path) == FULL


def test_a_file_of_before_is_still_read(tmp_path):
    path = save_machine(RECORD, tmp_path)
    data = json.loads(path.read_text())
    for key in ("read_curve", "peaks_by_level", "engine"):
        del data[key]
    path.write_text(json.dumps(data))
    assert load_record(tmp_path) == RECORD
    assert load_machine(tmp_path).attention_efficiency is None


def test_a_working_set_is_read_at_a_rate_between_those_measured():
    machine = machine_hardware(FULL)
    assert machine.reading(1000).read_bytes_per_s.value == 9e10
    assert machine.reading(1 << 40).read_bytes_per_s.value == 2e10
    # Half-way between 1 MiB and 16 MiB on a logarithmic axis: the geometric mean.
    assert machine.reading(2**22).read_bytes_per_s.value == pytest.approx((9e10 * 2e10) ** 0.5)
    assert machine_hardware(RECORD).reading(1) == machine_hardware(RECORD)


def test_what_a_kernel_takes_beyond_reading_is_the_same_in_a_cache():
    machine = machine_hardware(FULL)
    # 1 / 1e10 a byte where memory gives 2e10: as long again as reading.
    near = machine.reading(1000)
    assert 1 / near.cache_bytes_per_s == pytest.approx(1 / 9e10 + 1 / 2e10)
    assert near.for_cache("int8").cache_bytes_per_s == pytest.approx(1 / (1 / 9e10 + 1 / 5e9 - 1 / 2e10))
    assert near.reading(1 << 40) == near


def test_prefill_takes_products_and_scores_each_at_their_rate(tmp_path):
    save_machine(FULL, tmp_path)
    bound = rank(load_machine(tmp_path)).prefill(512, 0, 2048)
    products = 512 * SMOLLM_135M.layer_flops_per_token + SMOLLM_135M.head_flops_per_token
    assert bound.compute_s == pytest.approx(products / 1e11 + SMOLLM_135M.attention_flops(0, 512) / 5e10)
    assert bound.overhead_s == pytest.approx(30 * 1e-5 + 2e-4)


@pytest.mark.parametrize(("cache", "rate"), [("bf16", 1e10), ("int8", 5e9), ("fp8", 1e10)])
def test_decode_reads_the_cache_at_the_rate_of_its_dtype(tmp_path, cache, rate):
    save_machine(FULL, tmp_path)
    one = rank(load_machine(tmp_path), cache)
    read = one.layout.read_bytes(4096)
    assert one.decode(4096, 1).memory_s == pytest.approx(one.weights.read(1) / 1.5e10 + read / rate)


def test_narrow_weights_have_a_rate_of_their_own(tmp_path):
    save_machine(FULL, tmp_path)
    one = rank(load_machine(tmp_path), weights="q4_1")
    assert one.weights_s(1) == pytest.approx(one.weights.read(1) / 1.2e10)


def test_a_plan_reads_at_the_rate_of_its_own_step_and_shows_that_rate() -> None:
    steep = replace(FULL, read_curve=((1 << 20, 2, 9e10), (1 << 34, 2, 2e10)))
    workload = Workload(context_tokens=4096)
    plan = make_plan(SMOLLM_135M, machine_hardware(steep), workload, PlanOptions())
    weights, cache = plan.rank.weights.read(1), plan.rank.layout.read_bytes(workload.context_tokens)
    bandwidth = read_rate(steep.curve, weights + cache)
    assert 2e10 < bandwidth < 9e10 and plan.hardware.read_bytes_per_s.value == bandwidth
    assert "again and again" in plan.hardware.read_bytes_per_s.source
    expected = weights / plan.rank.weight_bytes_per_s + cache / plan.hardware.cache_bytes_per_s
    assert plan.times is not None and plan.times.tpot.memory_s == pytest.approx(expected)
    assert 1 / plan.hardware.cache_bytes_per_s == pytest.approx(1 / bandwidth + 1 / 2e10)


def test_the_plan_uses_them(tmp_path):
    save_machine(FULL, tmp_path)
    machine = load_machine(tmp_path)
    times = {
        cache: make_plan(SMOLLM_135M, machine, Workload(context_tokens=4096), PlanOptions(cache_dtype=cache)).times
        for cache in ("bf16", "int8")
    }
    # Half the bytes at half the rate, and the scales beside them.
    assert times["int8"].tpot.memory_s > times["bf16"].tpot.memory_s


def test_floors_know_no_engine(tmp_path):
    save_machine(FULL, tmp_path)
    floor = load_machine(tmp_path).as_floor()
    assert floor.for_cache("int8").cache_bytes_per_s == 2e10
    assert floor.score_flops_per_s("bf16") == floor.flops_per_s("bf16") == 2e11
