"""From seconds of steps to rates: an invented machine whose rates are known is found again; noise runs as models do."""

import pytest

from tests.native.harness import native
from windowtax.engine.calibrate_caches import Caches, Chosen, Spent
from windowtax.engine.calibrate_prefill import Prefilled, Prefills
from windowtax.engine.calibrate_reads import Reads, Step, StepReads
from windowtax.engine.calibrate_weights import Constants, Sized, Weights
from windowtax.engine.noise import NoiseModel, bare_spec, choosing, medians_in_turns, spec_of_noise
from windowtax.ops.native import native_state
from windowtax.spec.step_costs import kernel_s

READS = Reads(((1e6, 1e11), (1e8, 5e10), (2e8, 2e10), (1e9, 2e10)))
NEAR_S, FAR_S = 1 / 5e10, 1 / 2e10
STEP_S, SEQUENCE_S = 5e-6, 1e-5
LAYER_S, SEQUENCE_LAYER_S = ((128.0, 4e-6), (1024.0, 1e-5)), ((128.0, 1e-6), (1024.0, 6e-6))
CONSTANTS = Constants(STEP_S, LAYER_S, SEQUENCE_S, SEQUENCE_LAYER_S)
STORED, FULL = ((NEAR_S, 2.2e-11), (FAR_S, 5.5e-11)), ((NEAR_S, 2.1e-11), (FAR_S, 6e-11))
ROWS_S = {1: 0.0, 2: 3e-11, 4: 4e-11, 8: 6e-11, 16: 9e-11}
"""What a byte of narrow weights takes in products of so many rows; of wide ones half of that."""
CACHE = ((NEAR_S, 2.5e-11), (FAR_S, 5.2e-11))
SPEC = spec_of_noise(heads=4, kv_heads=2, head_dim=128, hidden=256, inner=512, layers=3, vocab=64)

TINY = [Sized(2, 128, 10**5), Sized(34, 128, 10**6), Sized(2, 1024, 10**5), Sized(34, 1024, 10**6)]
MODELS = [*TINY, Sized(16, 512, 10**8), Sized(5, 512, 10**8)]
LARGE = [Sized(28, 1024, 10**9), Sized(8, 1024, 10**9)]


def weights() -> Weights:
    def near_s(model: Sized, rows: int) -> float:
        byte_s = max(FULL[0][1], ROWS_S[rows] / 2) if model is MODELS[-1] else max(STORED[0][1], ROWS_S[rows])
        return CONSTANTS.of(model.layers, model.query_numbers, rows) + model.weight_bytes * byte_s

    far = [
        (model, CONSTANTS.of(model.layers, model.query_numbers) + model.weight_bytes * curve[-1][1])
        for model, curve in zip(LARGE, (STORED, FULL), strict=True)
    ]
    return Weights(MODELS, {rows: [near_s(model, rows) for model in MODELS] for rows in ROWS_S}, far)


def test_constants_and_weights_are_found_again() -> None:
    found = weights().constants()
    assert (found.step_s, found.sequence_s) == pytest.approx((STEP_S, SEQUENCE_S), rel=1e-3)
    assert dict(found.layer_s) == pytest.approx(dict(LAYER_S), rel=1e-3)
    assert dict(found.sequence_layer_s) == pytest.approx(dict(SEQUENCE_LAYER_S), rel=1e-3)
    bytes_s = weights().s_per_byte(found, READS)
    for bits, curve in (("int4", STORED), ("bf16", FULL)):
        assert [x for point in bytes_s[bits] for x in point] == pytest.approx([x for p in curve for x in p], rel=1e-3)
    rows = weights().by_rows(found)
    assert dict(rows["int4"]) == pytest.approx({rows: s for rows, s in ROWS_S.items() if rows > 1}, rel=1e-3)
    assert dict(rows["bf16"]) == pytest.approx({2: 2.1e-11, 4: 2.1e-11, 8: 3e-11, 16: 4.5e-11}, rel=1e-3)


BEGIN_S, LAYERS = 3e-6, 16


def caches() -> Caches:
    def near(byte_s: float) -> tuple[Spent, Spent]:
        short, long = (Spent(LAYERS * BEGIN_S + size * byte_s, size, 10**8) for size in (10**7, 10**8))
        return short, long

    far = Spent(LAYERS * BEGIN_S + 10**9 * CACHE[-1][1], 10**9, 10**9)
    return Caches(LAYERS, {"bf16": {3: near(CACHE[0][1]), 8: near(4e-11)}}, {"bf16": far})


def test_what_a_context_takes_to_begin_is_not_taken_for_its_bytes() -> None:
    assert caches().begin_s() == pytest.approx({"bf16": BEGIN_S})
    (near, far) = caches().s_per_byte(READS)["bf16"]
    assert near == pytest.approx(CACHE[0]) and far == pytest.approx(CACHE[1])
    assert dict(caches().by_group()["bf16"]) == pytest.approx({3: CACHE[0][1], 8: 4e-11})


def test_choosing_is_what_is_left_beyond_the_bytes() -> None:
    def spent(numbers: int, size: int) -> Spent:
        byte_s = kernel_s(CACHE, READS.s_per_byte(size + 10**8))
        return Spent(LAYERS * 9e-6 + numbers * 5e-11 + size * byte_s, size, size + 10**8)

    asked = ((10**6, 10**7), (10**6, 3 * 10**7), (5 * 10**6, 2 * 10**7), (5 * 10**6, 4 * 10**7))
    measured = [Chosen(LAYERS, numbers, spent(numbers, size)) for numbers, size in asked]
    assert caches().choosing(measured, READS) == pytest.approx((9e-6, 5e-11), rel=1e-3)


def test_steps_tell_how_fast_one_reads_near_the_end_of_a_shared_cache() -> None:
    wanted = {10**7: 2.4e-11, 3 * 10**7: 3.5e-11, 8 * 10**7: 4.7e-11}
    steps = [
        Step(9 * 10**7, size, 1e-4 + 9 * 10**7 * kernel_s(STORED, read_s) + size * kernel_s(CACHE, read_s))
        for size, read_s in wanted.items()
    ]
    found = READS.with_steps(steps, 1e-4, STORED, CACHE)
    for size, read_s in wanted.items():
        assert found.s_per_byte(9 * 10**7 + size) == pytest.approx(read_s, rel=1e-3)
    assert found.s_per_byte(1e6) == READS.s_per_byte(1e6) and found.s_per_byte(1e9) == READS.s_per_byte(1e9)
    # A step that was slower than main memory explains, or faster than a cache, is taken for these.
    slow, fast = (READS.with_steps([Step(10**8, 10**7, s)], 1e-4, STORED, CACHE) for s in (1.0, 1e-6))
    assert slow.s_per_byte(1.1e8) == pytest.approx(FAR_S) and fast.s_per_byte(1.1e8) == pytest.approx(NEAR_S)


def test_chunks_of_three_sizes_and_a_prefix_give_products_scores_and_what_every_chunk_takes() -> None:
    def chunk_s(start: int, tokens: int) -> float:
        matrices, numbers = tokens * SPEC.layer_flops_per_token, SPEC.layer_flops_per_token / 2
        constant_s = CONSTANTS.of(3, 512)
        return constant_s + numbers * 6e-11 + matrices / 1.5e12 + SPEC.attention_flops(start, tokens) / 2.5e12

    asked = ((0, 128), (0, 512), (0, 2048), (14_336, 2048))
    prefills = Prefills([Prefilled(SPEC, [chunk_s(*one) for one in asked])])
    products, scores, widening = prefills.rates(CONSTANTS)
    assert products[0] == pytest.approx((SPEC.layer_flops_per_token / 6, 1.5e12))
    assert scores == (pytest.approx((128.0, 2.5e12)),) and widening[0][1] == pytest.approx(6e-11)


def test_turns_give_medians_and_do_not_count_the_first_steps_of_a_burst() -> None:
    slow, fast = iter([9.0, 1.0, 3.0, 9.0, 2.0, 2.0]), iter([0.5] * 6)
    found = medians_in_turns({"slow": lambda: next(slow), "fast": lambda: next(fast)}, 2, 2)
    assert found == {"slow": 2.0, "fast": 0.5} and next(slow, None) is None


@native
@pytest.mark.parametrize("weights", ["stored", "full"])
def test_noise_runs_as_a_model_does(weights: str) -> None:
    plain = NoiseModel(SPEC, weights, native_state(), 1)
    chosen = NoiseModel(choosing(SPEC, 4, 32), weights, native_state(), 1)
    assert plain.decode("int8", 200, sequences=3)() > 0 and plain.step("bf16", 64, 40)() > 0
    assert chosen.decode("bf16", 500)() > 0
    assert chosen.read_bytes("bf16", 500) < plain.read_bytes("bf16", 500)
    assert all(seconds > 0 for seconds in plain.outside(2, 3))


@native
def test_steps_are_read_from_caches_of_rising_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windowtax.engine.calibrate_reads._CACHE_BYTES", (1 << 20, 2 << 20))
    model = NoiseModel(bare_spec(layers=2), "stored", native_state(), 1)
    reads = StepReads(model)
    reads.time()
    sizes = [step.cache_bytes for step in reads.steps]
    assert sizes == pytest.approx([1 << 20, 2 << 20], rel=0.1) and all(step.seconds > 0 for step in reads.steps)
    assert reads.steps[0].weight_bytes == model.decoder.step_weight_bytes
