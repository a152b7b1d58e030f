"""Matrices read piece by piece and packed by several threads: the same numbers as in one piece, and no more at once."""

import threading

import numpy as np
import pytest

from tests.native.harness import native
from windowtax.ops.native import WeightFormat
from windowtax.ops.packed import Arena, Packer, packed_bytes
from windowtax.ops.rows import PANEL_ROWS, Codes, Matrix, Rows, interleaved, joined, matrix_of

COLUMNS = 96


def numbers(rows: int, columns: int = COLUMNS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def unpacked(matrix: Matrix, format: WeightFormat = WeightFormat.F32) -> np.ndarray:
    with Packer(2, Arena(packed_bytes(format, *matrix.shape))) as packer:
        packed = packer.pack(matrix, format)
    return packed.unpacked()


@native
@pytest.mark.parametrize("rows", [(16, 16), (5, 40, 3), (33, 1, 700)])
def test_rows_of_several_matrices_follow_each_other(rows: tuple[int, ...]) -> None:
    parts = [numbers(count, seed=count) for count in rows]
    found = unpacked(joined([matrix_of(part) for part in parts]))
    np.testing.assert_array_equal(found, np.concatenate(parts))


@native
@pytest.mark.parametrize("rows", [16, 40, 1, 6000])
def test_panels_of_gate_and_up_take_turns(rows: int) -> None:
    gate, up = numbers(rows, seed=1), numbers(rows, seed=2)
    found = unpacked(interleaved(matrix_of(gate), matrix_of(up)))
    expected: list[np.ndarray] = []
    for start in range(0, rows, PANEL_ROWS):
        for matrix in (gate, up):
            panel = np.zeros((PANEL_ROWS, COLUMNS), np.float32)
            panel[: len(matrix[start : start + PANEL_ROWS])] = matrix[start : start + PANEL_ROWS]
            expected.append(panel)
    np.testing.assert_array_equal(found, np.concatenate(expected))


@native
def test_codes_of_one_format_stay_codes_and_others_become_floats() -> None:
    scale = np.full((20, COLUMNS // 32), 0.25, np.float32)
    small = np.random.default_rng(0).integers(0, 16, (20, COLUMNS), dtype=np.int8)
    large = np.random.default_rng(1).integers(-127, 128, (20, COLUMNS), dtype=np.int8)
    four, eight = Codes(WeightFormat.Q4, small, scale, scale * -8), Codes(WeightFormat.Q8, large, scale, None)
    matrices = [Matrix(one.shape, lambda start, end, one=one: part_of(one, start, end)) for one in (four, eight)]
    alike, unlike = joined(matrices[:1] * 2).read(0, 40), joined(matrices).read(10, 30)
    assert isinstance(alike, Codes) and alike.format is WeightFormat.Q4
    np.testing.assert_array_equal(unlike, np.concatenate([four.dequantised()[10:], eight.dequantised()[:10]]))
    # fp16 holds the scale and the least value exactly, so the packed codes say the same.
    np.testing.assert_array_equal(unpacked(joined(matrices[:1] * 2), WeightFormat.Q4)[:20], four.dequantised())


def part_of(codes: Codes, start: int, end: int) -> Codes:
    least = None if codes.least is None else codes.least[start:end]
    return Codes(codes.format, codes.codes[start:end], codes.scale[start:end], least)


@native
def test_a_large_matrix_is_never_in_memory_twice() -> None:
    """Pieces cover it once, and those read at the same time are a small part of it."""
    rows, columns = 40_000, 128
    seen: list[tuple[int, int]] = []
    now, most, lock = 0, 0, threading.Lock()

    def read(start: int, end: int) -> Rows:
        nonlocal now, most
        with lock:
            seen.append((start, end))
            now += end - start
            most = max(most, now)
        values = np.full((end - start, columns), 1.5, np.float32)
        with lock:
            now -= end - start
        return values

    assert (unpacked(Matrix((rows, columns), read), WeightFormat.BF16) == 1.5).all()
    assert [start for start, _ in sorted(seen)] == [0, *(end for _, end in sorted(seen)[:-1])]
    assert max(end for _, end in seen) == rows and most < rows / 4


@native
def test_an_error_of_reading_ends_the_packing() -> None:
    def read(start: int, end: int) -> Rows:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        unpacked(Matrix((64, COLUMNS), read))
