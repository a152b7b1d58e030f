"""What our engine reaches is kept beside what the machine can do, and becomes the planner's efficiencies."""

import json
from dataclasses import replace
from math import log

import pytest
from tests.catalog_hardware.test_machine import RECORD
from tests.plan.specs import SMOLLM_135M

from windowtax.base.errors import WindowtaxError
from windowtax.catalog import machine
from windowtax.catalog.machine import (
    EngineRates,
    OldRecord,
    load_machine,
    load_record,
    machine_hardware,
    save_machine,
)
from windowtax.cli.doctor import examine
from windowtax.engine import gauge
from windowtax.engine.gauge import this_machine
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.plan.roofline import Rank, as_asked
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.override import with_attention
from windowtax.spec.step_costs import Shape, kernel_s, on_curve
from windowtax.spec.workload import Workload

NEAR_S, FAR_S = 1 / 9e10, 1 / 2e10
"""Plain reading of the curve below, near and far."""
ENGINE = EngineRates(
    level="avx2",
    read_curve=((1 << 20, 9e10), (1 << 24, 2e10)),
    weight_s_per_byte={
        "bf16": ((NEAR_S, 1 / 6e10), (FAR_S, 1 / 1.5e10)),
        "int4": ((NEAR_S, 1 / 4e10), (FAR_S, 1 / 1.2e10)),
    },
    cache_s_per_byte={
        "bf16": ((NEAR_S, 1 / 3e10), (FAR_S, 1 / 1e10)),
        "int8": ((NEAR_S, 1 / 5e9), (FAR_S, 1 / 5e9)),
    },
    rows_s_per_byte={"bf16": ((2.0, 1e-10), (16.0, 1e-9)), "int4": ((2.0, 8e-11), (16.0, 8e-10))},
    group_s_per_byte={"bf16": ((3.0, 1 / 3e10), (8.0, 1 / 6e9)), "int8": ((3.0, 1 / 5e9), (8.0, 1 / 4e9))},
    begin_s={"bf16": 0.0, "int8": 3e-6},
    product_flops_per_s=((1e6, 4e10), (4e6, 1e11), (64e6, 1.2e11)),
    attention_flops_per_s=((32.0, 2e10), (64.0, 5e10), (256.0, 8e10)),
    widening_s_per_number=((1e6, 5e-11), (64e6, 5e-11)),
    layer_s=((128.0, 5e-6), (1024.0, 2e-5)),
    sequence_layer_s=((128.0, 1e-6), (1024.0, 4e-6)),
    step_overhead_s=2e-4,
    sequence_s=2e-5,
    scored_number_s=1e-10,
    choose_layer_s=7e-6,
)
# SmolLM2's queries have 576 numbers: between 128 and 1,024 on logarithmic axes.
PART = log(576 / 128) / log(8)
LAYER_S, SEQUENCE_LAYER_S = 5e-6 * 4**PART, 1e-6 * 4**PART
SHAPE = Shape(layer_numbers=4e6, head_size=64, query_numbers=576, group=3)
FULL = replace(
    RECORD,
    read_curve=((1 << 20, 2, 9e10), (1 << 24, 2, 2e10), (1 << 20, 1, 4e10), (1 << 24, 1, 1e10)),
    peaks_by_level={"portable": {"fp32": 1e10}, "avx2": {"fp32": 1e11}},
    engine=ENGINE,
)


def rank(hardware, cache: str = "bf16", weights: str = "bf16", spec=SMOLLM_135M, users: int = 1) -> Rank:
    scheme = weight_scheme(weights, spec)
    return Rank(
        spec=spec,
        hardware=as_asked(hardware, spec, cache, read_bytes=1 << 40, users=users),
        scheme=scheme,
        weights=WeightBytes.of(spec, scheme),
        layout=spec.layout(cache_dtype(cache)),
    )


def test_all_of_it_is_read_back(tmp_path):
    save_machine(FULL, tmp_path)
    assert load_record(tmp_path) == FULL


@pytest.mark.parametrize("version", [None, 1, 99])
def test_a_file_of_another_version_is_refused_with_words_and_measured_anew(tmp_path, monkeypatch, version):
    path = save_machine(FULL, tmp_path)
    data = json.loads(path.read_text())
    assert data.pop("version") == machine.VERSION
    path.write_text(json.dumps(data if version is None else {**data, "version": version}))
    with pytest.raises(OldRecord, match=r"another version of windowtax(.|\n)*windowtax bench floor"):
        load_record(tmp_path)
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    assert "windowtax bench floor" in examine()["machine"]["measured_speed"]
    monkeypatch.setattr(gauge, "_measure_apart", lambda: save_machine(FULL))
    assert this_machine() == machine_hardware(FULL) and load_record(tmp_path) == FULL


def test_a_machine_that_cannot_be_measured_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho Traceback >&2\necho 'MemoryError: no room' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(gauge.sys, "executable", str(script))
    with pytest.raises(WindowtaxError, match=r"MemoryError: no room(.|\n)*windowtax bench floor"):
        this_machine()


def test_without_native_kernels_only_the_machine_is_known(tmp_path):
    save_machine(RECORD, tmp_path)
    found = load_machine(tmp_path)
    assert found.attention_efficiency is None and found.steps is None
    assert found.for_model(SHAPE) == found and found.for_rows(8) == found


def test_a_working_set_is_read_at_a_rate_between_those_measured():
    machine = machine_hardware(FULL)
    assert machine.reading(1000).read_bytes_per_s.value == 9e10
    assert machine.reading(1 << 40).read_bytes_per_s.value == 2e10
    # Half-way between 1 MiB and 16 MiB on a logarithmic axis: the geometric mean.
    assert machine.reading(2**22).read_bytes_per_s.value == pytest.approx((9e10 * 2e10) ** 0.5)
    assert machine_hardware(RECORD).reading(1) == machine_hardware(RECORD)


def test_steps_read_as_steps_do_and_floors_at_the_best():
    slower = replace(FULL, engine=replace(ENGINE, read_curve=((1 << 20, 6e10), (1 << 24, 1.5e10))))
    found = machine_hardware(slower)
    assert found.reading(1000).read_bytes_per_s.value == 6e10
    assert found.as_floor().reading(1000).read_bytes_per_s.value == 9e10
    assert machine_hardware(FULL).reading(1000).read_bytes_per_s.value == 9e10


def test_kernels_take_what_they_took_near_and_far_and_between_in_proportion():
    machine = machine_hardware(FULL)
    near, far, between = (machine.reading(size) for size in (1000, 1 << 40, 1 << 22))
    assert near.cache_bytes_per_s == pytest.approx(3e10) and far.cache_bytes_per_s == pytest.approx(1e10)
    # What unpacking limits gains nothing from faster reads.
    assert near.for_cache("int8").cache_bytes_per_s == far.for_cache("int8").cache_bytes_per_s == pytest.approx(5e9)
    read_s = 1 / between.read_bytes_per_s.value
    part = (read_s - NEAR_S) / (FAR_S - NEAR_S)
    assert 1 / between.cache_bytes_per_s == pytest.approx(1 / 3e10 + part * (1 / 1e10 - 1 / 3e10))
    assert near.weight_bytes_per_s(4, "bf16") == pytest.approx(4e10) and near.reading(1 << 40) == near


@pytest.mark.parametrize(
    ("curve", "read_s", "expected"),
    [
        (((1e-11, 3e-11), (4e-11, 6e-11)), 5e-12, 3e-11),
        (((1e-11, 3e-11), (4e-11, 6e-11)), 8e-11, 1e-10),
        (((1e-11, 6e-11), (4e-11, 5e-11)), 8e-11, 5e-11),
        (((4e-11, 5e-11), (4e-11, 6e-11)), 4e-11, 6e-11),
        (((4e-11, 5e-11), (4e-11, 6e-11)), 1e-12, 5e-11),
    ],
    ids=["nearer than near", "farther than far", "where unpacking limits", "no cache is shared", "nor is it near"],
)
def test_beyond_what_was_measured(curve, read_s, expected):
    assert kernel_s(curve, read_s) == pytest.approx(expected)


def test_more_queries_per_key_compute_more_with_each_byte_and_hide_behind_slow_reading():
    steps = machine_hardware(FULL).steps
    assert steps.for_group(3).caches == steps.caches
    near, far = steps.for_group(8).caches["bf16"]
    assert near[1] == pytest.approx(1 / 6e9) and far[1] == pytest.approx(1 / 6e9)
    near, far = steps.for_group(8).caches["int8"]
    assert near[1] == pytest.approx(1 / 4e9) and far[1] == pytest.approx(1 / 4e9)


def test_a_measurement_that_was_disturbed_says_so(tmp_path):
    assert FULL.unrest is None
    busy = replace(FULL, others_share=0.3, swings={"read_bytes_per_s": 1.1, "bf16_flops_per_s": 1.6})
    said = busy.unrest
    assert "others used 30%" in said and "bf16_flops per second swung by a factor of 1.6" in said
    assert "read_bytes" not in said and "windowtax bench floor" in said
    save_machine(busy, tmp_path)
    assert load_record(tmp_path) == busy


def test_prefill_takes_products_and_scores_each_at_their_rate(tmp_path):
    save_machine(FULL, tmp_path)
    one = rank(load_machine(tmp_path))
    bound = one.prefill(512, 0, 2048)
    # 3.54 million numbers per layer, between 1 and 4 million on logarithmic axes; heads of 64.
    numbers = SMOLLM_135M.layer_flops_per_token / 2 / 30
    rate = 4e10 * (1e11 / 4e10) ** (log(numbers / 1e6) / log(4))
    products = 512 * SMOLLM_135M.layer_flops_per_token
    assert bound.compute_s == pytest.approx(products / rate + SMOLLM_135M.attention_flops(0, 512) / 5e10)
    # The head is read once, when nothing else is computed.
    head_s = 49_152 * 576 * 2 / 1.5e10
    chunk_s = 30 * numbers * 5e-11
    assert bound.overhead_s == pytest.approx(30 * LAYER_S + 2e-4 + head_s + chunk_s)
    assert bound.bytes == one.weights.read(512) - one.weights.head
    assert one.prefill(4096, 0, 2048).overhead_s == pytest.approx(2 * (30 * LAYER_S + 2e-4 + chunk_s) + head_s)


def test_a_chunk_costs_something_for_itself_unless_it_is_as_short_as_a_decode_step():
    one = rank(machine_hardware(FULL))
    chunk_s = 30 * SMOLLM_135M.layer_flops_per_token / 2 / 30 * 5e-11
    assert one.chunk_s(16) == 0 and one.chunk_s(17) == pytest.approx(chunk_s)
    in_step = one.step_s(512, 1, chunk_tokens=256) - one.step_s(512, 1, chunk_tokens=16)
    assert in_step > chunk_s > 0
    assert one.prefill(32, 0, 16).overhead_s + 2 * chunk_s == pytest.approx(one.prefill(34, 0, 17).overhead_s), (
        "two chunks of each"
    )


@pytest.mark.parametrize(("heads_of", "rate"), [(32, 2e10), (64, 5e10), (128, 6.3245553e10), (512, 8e10)])
def test_scores_have_a_rate_by_the_size_of_heads(heads_of, rate):
    found = machine_hardware(FULL).for_model(replace(SHAPE, head_size=heads_of))
    assert found.score_flops_per_s("bf16") == pytest.approx(rate)
    assert found.flops_per_s("bf16") == pytest.approx(1e11)


def test_few_rows_take_as_long_as_reading_or_their_own_time_whichever_is_longer():
    steep = machine_hardware(FULL)
    one, many = (rank(steep, weights="q4_1", users=users) for users in (1, 8))
    by_row = 8e-11 * 10 ** (log(8 / 2) / log(16 / 2))  # s a byte, between 2 and 16 rows
    assert one.weights_s(1) == pytest.approx(one.weights.read(1) / 1.2e10)
    assert many.weights_s(8) == pytest.approx(many.weights.read(8) * by_row)
    assert by_row > 1 / 1.2e10 > 8e-11
    assert rank(steep, weights="q4_1", users=2).weight_bytes_per_s == one.weight_bytes_per_s
    more = many.decode(2048, 8).overhead_s - one.decode(2048, 1).overhead_s
    assert more == pytest.approx(7 * (2e-5 + 30 * SEQUENCE_LAYER_S))


def test_choosing_blocks_takes_time_by_head_and_layer_where_some_are_left_out():
    spec = with_attention(SMOLLM_135M, "full=topk:64+block:32")
    chosen, plain = rank(machine_hardware(FULL), spec=spec), rank(machine_hardware(FULL))
    more = chosen.decode(32_768, 1).overhead_s - plain.decode(32_768, 1).overhead_s
    assert more == pytest.approx(30 * (7e-6 + 1024 * 2 * 3 * 64 * 1e-10))
    assert chosen.decode(64 * 32, 1).overhead_s == plain.decode(64 * 32, 1).overhead_s
    assert chosen.step_s(32_768, 1) == pytest.approx(chosen.decode(32_768, 1).overlap_s)


@pytest.mark.parametrize(("cache", "rate"), [("bf16", 1e10), ("int8", 5e9), ("fp8", 1e10)])
def test_decode_reads_the_cache_at_the_rate_of_its_dtype(tmp_path, cache, rate):
    save_machine(FULL, tmp_path)
    one = rank(load_machine(tmp_path), cache)
    read = one.layout.read_bytes(4096)
    assert one.decode(4096, 1).memory_s == pytest.approx(one.weights.read(1) / 1.5e10 + read / rate)
    begin_s = 3e-6 if cache == "int8" else 0.0
    assert one.decode(4096, 1).overhead_s == pytest.approx(30 * (LAYER_S + begin_s) + 2e-4)


def test_narrow_weights_have_a_rate_of_their_own(tmp_path):
    save_machine(FULL, tmp_path)
    one = rank(load_machine(tmp_path), weights="q4_1")
    assert one.weights_s(1) == pytest.approx(one.weights.read(1) / 1.2e10)


def test_a_plan_reads_at_the_rate_of_its_own_step_and_shows_that_rate() -> None:
    curve = ((float(1 << 20), 9e10), (float(1 << 34), 2e10))
    steep = replace(FULL, engine=replace(ENGINE, read_curve=curve))
    workload = Workload(context_tokens=4096)
    plan = make_plan(SMOLLM_135M, machine_hardware(steep), workload, PlanOptions())
    weights, cache = plan.rank.weights.read(1), plan.rank.layout.read_bytes(workload.context_tokens)
    bandwidth = on_curve(curve, weights + cache)
    assert 2e10 < bandwidth < 9e10 and plan.hardware.read_bytes_per_s.value == bandwidth
    assert "again and again" in plan.hardware.read_bytes_per_s.source
    expected = weights / plan.rank.weight_bytes_per_s + cache / plan.hardware.cache_bytes_per_s
    assert plan.times is not None and plan.times.tpot.memory_s == pytest.approx(expected)
    assert 1 / plan.hardware.cache_bytes_per_s == pytest.approx(
        kernel_s(ENGINE.cache_s_per_byte["bf16"], 1 / bandwidth)
    )


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
