"""From seconds of steps to rates: an invented machine whose rates are known is found again; noise runs as models do."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.native.harness import native
from windowtax.engine.calibrate import CACHE_DTYPES, Chosen, Prefilled, Reads, Timings
from windowtax.engine.noise import NoiseModel, choosing, medians_in_turns, spec_of_noise
from windowtax.ops.native import native_state

READS = Reads(2e10, ((1e6, 1e11), (1e8, 5e10), (2e8, 2e10), (1e9, 2e10)))
STEP_S, LAYER_S, SEQUENCE_S, SEQUENCE_LAYER_S = 5e-6, 4e-6, 1e-5, 2e-6
ROWS_S = {1: 0.0, 2: 3e-11, 4: 4e-11, 8: 6e-11, 16: 9e-11}
"""What a byte of narrow weights takes in products of so many rows; of wide ones half of that."""
CACHE_BYTES, CACHE_BEYOND_S = 3e8, 1e-11
SPEC = spec_of_noise(heads=4, kv_heads=2, head_dim=128, hidden=256, inner=512, layers=3, vocab=64)


@dataclass
class Invented:
    """What is asked of a model of noise."""

    num_layers: int
    step_weight_bytes: float
    weights: str = "stored"
    decoder: Any = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = SimpleNamespace(step_weight_bytes=self.step_weight_bytes)

    def read_bytes(self, cache: str, tokens: int) -> float:
        return CACHE_BYTES

    def decode_s(self, rows: int) -> float:
        more = rows - 1
        constant_s = STEP_S + more * SEQUENCE_S + self.num_layers * (LAYER_S + more * SEQUENCE_LAYER_S)
        row_s = ROWS_S[rows] / (2 if self.weights == "full" else 1)
        return constant_s + self.step_weight_bytes * max(1 / 5e10, row_s)


MODELS = [Invented(2, 1e5), Invented(18, 9e5), Invented(16, 1e8), Invented(16, 1e8, "full")]


def timings() -> Timings:
    small = MODELS[2]
    kept_s = small.decode_s(1) - 1e8 / 5e10 + 1e8 / 2e10 + CACHE_BYTES * (1 / 2e10 + CACHE_BEYOND_S)
    full_s = STEP_S + 16 * LAYER_S + 1e8 / 2e10  # at main memory's rate
    byte_s = 1 / 2e10 + CACHE_BEYOND_S
    near, far = (SPEC.attention_flops(start, 2048) for start in (0, 14_336))
    products = 2048 * SPEC.layer_flops_per_token + SPEC.head_flops_per_token
    return Timings(
        level="amx",
        by_rows=cast(Any, {rows: [(one, one.decode_s(rows)) for one in MODELS] for rows in ROWS_S}),
        cache_s=dict.fromkeys(CACHE_DTYPES, kept_s),
        outside_s={1: 1e-4, 8: 3.1e-4},
        prefill_s=[
            Prefilled(SPEC, *(STEP_S + 3 * LAYER_S + products / 1.5e12 + flops / 2.5e12 for flops in (near, far)))
        ],
        choosing=[
            Chosen(blocks, top, 48, full_s + read * byte_s + 48 * (blocks * 5e-9 + top * 1e-7), read)
            for blocks, top, read in ((2048, 64, 12 * 10**7), (2048, 16, 10**8), (512, 64, 11 * 10**7))
        ],
    )  # fmt: skip


def test_an_invented_machine_is_found_again() -> None:
    found = timings().rates(READS)
    assert found.layer_overhead_s == pytest.approx(LAYER_S) and found.step_overhead_s == pytest.approx(STEP_S + 1e-4)
    assert found.sequence_layer_s == pytest.approx(SEQUENCE_LAYER_S)
    assert found.sequence_s == pytest.approx(SEQUENCE_S + 2.1e-4 / 7)
    assert found.weight_bytes_per_s == pytest.approx({"bf16": 2e10, "int4": 2e10})
    rows = [{int(rows): seconds for rows, seconds in found.rows_s_per_byte[bits]} for bits in ("int4", "bf16")]
    assert rows[0] == pytest.approx({rows: ROWS_S[rows] for rows in (2, 4, 8, 16)})
    assert rows[1] == pytest.approx({2: 2e-11, 4: 2e-11, 8: 3e-11, 16: 4.5e-11})
    assert set(found.cache_bytes_per_s) == set(CACHE_DTYPES)
    assert found.cache_bytes_per_s["int8"] == pytest.approx(1 / (1 / 2e10 + CACHE_BEYOND_S))
    assert found.product_flops_per_s[0] == pytest.approx((SPEC.layer_flops_per_token / 6, 1.5e12))
    assert found.attention_flops_per_s == (pytest.approx((128.0, 2.5e12)),)
    assert found.scored_block_s == pytest.approx(5e-9) and found.chosen_block_s == pytest.approx(1e-7)


def test_turns_give_medians_and_do_not_count_the_first_step_of_a_burst() -> None:
    slow, fast = iter([9.0, 9.0, 1.0, 3.0, 9.0, 2.0, 2.0]), iter([0.5] * 7)
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
