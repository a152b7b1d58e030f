"""Matrices packed from a file of GGUF blocks, against the gguf package's own dequantisation."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from tests.native.harness import native
from windowtax.base.errors import BadInput
from windowtax.engine.gguf_codes import code_format, native_type
from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.packed import Arena, PackedMatrix, Packer, packed_bytes
from windowtax.ops.rows import Floats, Matrix, StoredRows, interleaved, matrix_of

AS_THEY_ARE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K")
REQUANTISED = ("Q6_K", "Q3_K", "IQ4_NL")


def _random_blocks(name: str, rows: int, columns: int) -> np.ndarray:
    """Bytes of random blocks with sane scales: every fp16 field is between 0.001 and 0.1."""
    kind = gguf.GGMLQuantizationType[name]
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(7)
    blocks = random.integers(0, 256, (rows, columns // numbers, size), dtype=np.uint8)
    fields = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "Q3_K": (108,)}
    for offset in fields.get(name, (0,)):
        scales = random.uniform(0.001, 0.1, blocks.shape[:2]).astype(np.float16)
        blocks[..., offset : offset + 2] = scales[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


class File:
    """Random rows of one type in a file, behind some bytes that are not theirs."""

    def __init__(self, folder: Path, name: str, rows: int, columns: int = 512) -> None:
        self.path, self.name, self.columns = folder / "blocks", name, columns
        blocks = _random_blocks(name, rows, columns)
        self.path.write_bytes(b"\xff" * 37 + blocks.tobytes())
        number = native_type(name)
        assert number is not None
        self.stored = StoredRows(
            self.path, 37 + np.arange(rows) * blocks.shape[1], np.full(rows, number, dtype=np.uint8)
        )
        self.numbers = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])

    @property
    def matrix(self) -> Matrix:
        """Its rows, which nothing but native code may read."""
        return _matrix(self.stored, self.columns)


def _matrix(stored: StoredRows, columns: int = 512) -> Matrix:
    def read(start: int, end: int) -> Floats:
        raise AssertionError("read by Python")

    return Matrix((len(stored.places), columns), read, stored)


def _pack(matrix: Matrix, format: WeightFormat, threads: int = 2) -> PackedMatrix:
    with Packer(threads, Arena(packed_bytes(format, *matrix.shape))) as packer:
        return packer.pack(matrix, format)


def _format(name: str) -> WeightFormat:
    found = code_format(name)
    assert found is not None
    return found


@native
@pytest.mark.parametrize("name", AS_THEY_ARE)
@pytest.mark.parametrize("rows", [1, 21, 700])
def test_packed_matrices_say_what_the_blocks_say(tmp_path: Path, name: str, rows: int) -> None:
    file = File(tmp_path, name, rows)
    packed = _pack(file.matrix, _format(name))
    # Scales and least values are kept in fp16.
    np.testing.assert_allclose(packed.unpacked(), file.numbers, rtol=0, atol=float(np.abs(file.numbers).max()) * 2**-10)


@native
@pytest.mark.parametrize(
    ("name", "unit_bytes"), [("Q4_0", 320), ("Q4_1", 320), ("Q5_0", 352), ("Q5_1", 384), ("Q8_0", 544)]
)
def test_packed_matrices_say_exactly_what_the_blocks_say(tmp_path: Path, name: str, unit_bytes: int) -> None:
    """Types whose scales are fp16 themselves, in as many bytes per 16 x 32 numbers as native/src/kernels.h says."""
    file = File(tmp_path, name, 21)
    packed = _pack(file.matrix, _format(name))
    assert packed.data.nbytes == 2 * 16 * unit_bytes
    np.testing.assert_array_equal(packed.unpacked(), file.numbers)


@native
@pytest.mark.parametrize("name", REQUANTISED)
def test_other_types_become_eight_bits(tmp_path: Path, name: str) -> None:
    stored = _random_blocks(name, 3, 512)
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name])
    assert code_format(name) is WeightFormat.Q8
    by_native = native_type(name) is not None
    packed = _pack(File(tmp_path, name, 3).matrix if by_native else matrix_of(expected), WeightFormat.Q8)
    step = np.abs(expected.reshape(3, -1, 32)).max(-1) / 127
    error = np.abs(packed.unpacked() - expected).reshape(3, -1, 32).max(-1)
    assert (error <= 0.51 * step + 1e-6).all()


@native
@pytest.mark.parametrize("name", [*AS_THEY_ARE, "Q6_K"])
def test_wider_formats_take_the_numbers_themselves(tmp_path: Path, name: str) -> None:
    file = File(tmp_path, name, 40)
    if name == "Q6_K":  # whose numbers are those of its 8-bit codes
        file.numbers = _pack(file.matrix, WeightFormat.Q8).unpacked()
    np.testing.assert_allclose(_pack(file.matrix, WeightFormat.F32).unpacked(), file.numbers, rtol=1e-3, atol=1e-4)
    expected = torch.from_numpy(_pack(file.matrix, WeightFormat.F32).unpacked()).bfloat16().float().numpy()
    np.testing.assert_array_equal(_pack(file.matrix, WeightFormat.BF16).unpacked(), expected)


@native
def test_rows_come_from_anywhere_in_the_file(tmp_path: Path) -> None:
    """Far apart, in any order, of several types in a panel; and rows of zeros."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = File(tmp_path / "one", "Q4_0", 300), File(tmp_path / "two", "Q4_1", 300)
    both = tmp_path / "both"
    gap = b"\0" * 5_000_000
    both.write_bytes(one.path.read_bytes() + gap + two.path.read_bytes())
    behind = one.path.stat().st_size + len(gap)
    order = np.random.default_rng(0).permutation(600)
    places = np.concatenate([one.stored.places, two.stored.places + behind])[order]
    types = np.concatenate([one.stored.types, two.stored.types])[order]
    expected = np.concatenate([one.numbers, two.numbers])[order]
    places[[3, 77, 599]], expected[[3, 77, 599]] = -1, 0
    packed = _pack(_matrix(StoredRows(both, places, types)), WeightFormat.Q4)
    np.testing.assert_array_equal(packed.unpacked(), expected)


@native
def test_gate_and_up_take_turns_in_the_file_too(tmp_path: Path) -> None:
    file = File(tmp_path, "Q5_0", 2 * 40)
    gate, up = (_matrix(file.stored.taken(np.arange(40) + begin)) for begin in (0, 40))
    halves = [matrix_of(file.numbers[begin : begin + 40]) for begin in (0, 40)]
    found = _pack(interleaved(gate, up), WeightFormat.Q5).unpacked()
    np.testing.assert_array_equal(found, interleaved(*halves).read(0, 96))


@native
def test_a_file_that_ends_too_early_is_said(tmp_path: Path) -> None:
    file = File(tmp_path, "Q8_0", 64)
    file.path.write_bytes(file.path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="ends in the middle"):
        _pack(file.matrix, WeightFormat.Q8)


@native
def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    file = File(tmp_path, "Q8_0", 64)
    file.path.unlink()
    with pytest.raises(BadInput, match="cannot be opened"):
        _pack(file.matrix, WeightFormat.Q8)


@native
def test_what_fails_meanwhile_stops_the_reading(tmp_path: Path) -> None:
    file = File(tmp_path, "Q8_0", 2000)
    with (
        pytest.raises(KeyError, match="another"),
        Packer(1, Arena(packed_bytes(WeightFormat.Q8, 2000, 512))) as packer,
    ):
        packer.pack(file.matrix, WeightFormat.Q8)
        packer.start()
        raise KeyError("another")


def test_floats_have_no_codes() -> None:
    assert code_format("F16") is None
    assert code_format("BF16") is None
    assert native_type("F32") is None


@native
@pytest.mark.parametrize("bits", [0x0001, 0x03FF, 0x8001, 0x0400, 0x7BFF, 0xFBFF, 0x0000, 0x8000])
def test_scales_may_be_any_finite_number_of_fp16(tmp_path: Path, bits: int) -> None:
    """Subnormal, greatest, zero and negative ones; the witness is numpy's own float16."""
    scale = np.array([bits], np.uint16)
    (tmp_path / "blocks").write_bytes(scale.tobytes() + b"\1" * 32)
    number = native_type("Q8_0")
    stored = StoredRows(tmp_path / "blocks", np.zeros(1, dtype=np.int64), np.full(1, number, dtype=np.uint8))
    found = _pack(_matrix(stored, 32), WeightFormat.Q8).unpacked()
    np.testing.assert_array_equal(found, np.full((1, 32), scale.view(np.float16).astype(np.float32)))


@native
def test_matrices_that_do_not_fit_their_place_are_refused(tmp_path: Path) -> None:
    module = native_state().module
    assert module is not None
    file = File(tmp_path, "Q4_1", 2)
    places, types = file.stored.places, file.stored.types
    out = np.zeros(packed_bytes(WeightFormat.Q4, 2, 512), np.uint8)
    for job, why in (
        ((int(WeightFormat.Q4), 512, places, types, out[1:]), "wrong size"),
        ((int(WeightFormat.Q4), 512, places, types[1:], out), "a type"),
        ((int(WeightFormat.Q4), 512, places, types + 100, out), "not read"),
        ((int(WeightFormat.Q4), 496, places, types, out), "whole blocks"),
    ):
        with pytest.raises(ValueError, match=why):
            module.StoredReader(str(file.path), [job], 1)
    with pytest.raises(RuntimeError, match="cannot be opened"):
        module.StoredReader(str(tmp_path / "missing"), [], 1)
