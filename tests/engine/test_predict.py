"""The prediction before a weight is read: the bytes that will be packed, and the planner's formulas."""

import pytest

from tests.catalog_hardware.test_machine_rates import FULL, LAYER_S
from windowtax.catalog.machine import machine_hardware
from windowtax.engine.backend import TORCH
from windowtax.engine.load import open_files
from windowtax.engine.predict import predict
from windowtax.hub import fetch
from windowtax.plan.roofline import decode_floor
from windowtax.spec.dtypes import cache_dtype


@pytest.fixture(scope="module")
def files():
    path = fetch.path("smollm2-135m")
    if path is None:
        pytest.skip("the weights of smollm2-135m are not here (python -m tools.pull_test_weights)")
    return open_files(path)


@pytest.mark.parametrize("weights", ["stored", "full"])
def test_step_bytes_are_those_of_the_packed_matrices(files, weights):
    backend = files.backend("bf16", weights)
    loaded = files.load(backend)
    step = loaded.step_weight_bytes
    assert files.step_weight_bytes(backend) == (loaded.weight_bytes if step is None else step)


def test_a_prediction_lies_above_its_floor_and_takes_its_parts_at_their_rates(files):
    backend, machine = files.backend("bf16", "stored"), machine_hardware(FULL)
    one = predict(files, backend, machine, "int8", 4096)
    assert one.ttft_s > one.prefill_floor.seconds and one.tpot_s > one.decode_floor.seconds
    layout, read = files.spec.layout(cache_dtype("int8")), files.step_weight_bytes(backend)
    rate = 1.2e10 if backend.native else 1.5e10  # FULL's rates of narrow and wide weights
    expected = read / rate + layout.read_bytes(4096) / 5e9 + 30 * (LAYER_S + 3e-6) + 2e-4
    assert one.tpot_s == pytest.approx(expected)


def test_floors_are_the_roofline_of_the_bytes_that_are_read(files):
    machine, layout = machine_hardware(FULL), files.spec.layout(cache_dtype("bf16"))
    one = predict(files, TORCH, machine, "bf16", 4096)
    expected = decode_floor(files.spec, machine.as_floor(), 4096, layout, files.step_weight_bytes())
    assert one.decode_floor == expected and files.step_weight_bytes() == 2 * files.spec.total_parameters
