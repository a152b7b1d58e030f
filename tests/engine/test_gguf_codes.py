"""Codes read from GGUF blocks, against the gguf package's own dequantisation."""

import gguf
import numpy as np
import pytest

from tests.native.harness import native
from windowtax.engine.gguf_codes import code_format, read_codes
from windowtax.ops.native import WeightFormat, native_state
from windowtax.ops.packed import Arena, Packer, packed_bytes
from windowtax.ops.rows import Codes, Matrix

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


@native
@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_codes_say_what_the_blocks_say(name: str) -> None:
    stored = _random_blocks(name, 5, 512)
    codes = read_codes(name, stored)
    assert codes is not None and codes.format is code_format(name)
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name])
    np.testing.assert_allclose(codes.dequantised(), expected, rtol=1e-5, atol=1e-5)


@native
@pytest.mark.parametrize(
    ("name", "unit_bytes"), [("Q4_0", 320), ("Q4_1", 320), ("Q5_0", 352), ("Q5_1", 384), ("Q8_0", 544)]
)
def test_packed_matrices_say_exactly_what_the_blocks_say(name: str, unit_bytes: int) -> None:
    """Types whose scales are fp16 themselves, in as many bytes per 16 x 32 numbers as native/src/kernels.h says."""
    stored = _random_blocks(name, 21, 512)
    codes = read_codes(name, stored)
    assert codes is not None
    with Packer(2, Arena(packed_bytes(codes.format, 21, 512))) as packer:
        packed = packer.pack(Matrix((21, 512), lambda start, end: _rows(codes, start, end)), codes.format)
    assert packed.data.nbytes == 2 * 16 * unit_bytes
    np.testing.assert_array_equal(packed.unpacked(), gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name]))


def _rows(codes: Codes, start: int, end: int) -> Codes:
    least = None if codes.least is None else codes.least[start:end]
    return Codes(codes.format, codes.codes[start:end], codes.scale[start:end], least)


@native
@pytest.mark.parametrize("name", REQUANTISED)
def test_other_types_become_eight_bits(name: str) -> None:
    stored = _random_blocks(name, 3, 512)
    codes = read_codes(name, stored)
    assert codes is not None and codes.format is code_format(name) is WeightFormat.Q8
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name])
    step = np.abs(expected.reshape(3, -1, 32)).max(-1) / 127
    error = np.abs(codes.dequantised() - expected).reshape(3, -1, 32).max(-1)
    assert (error <= 0.51 * step + 1e-6).all()


def test_floats_have_no_codes() -> None:
    assert read_codes("F16", np.zeros((2, 64), np.uint8)) is None
    assert code_format("BF16") is None


@native
@pytest.mark.parametrize("bits", [0x0001, 0x03FF, 0x8001, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x0000, 0x8000])
def test_scales_may_be_any_number_of_fp16(bits: int) -> None:
    """Subnormal, greatest, infinite, zero and negative ones; the witness is numpy's own float16."""
    scale = np.array([bits], np.uint16)
    stored = np.concatenate([scale.view(np.uint8), np.ones(32, np.uint8)])[None]
    codes = read_codes("Q8_0", stored)
    assert codes is not None
    np.testing.assert_array_equal(codes.scale[0], scale.view(np.float16).astype(np.float32))


@native
def test_blocks_of_the_wrong_size_are_refused() -> None:
    module = native_state().module
    assert module is not None
    codes, scale = np.empty((2, 64), np.int8), np.empty((2, 2), np.float32)
    for stored, least in ((np.zeros((2, 39), np.uint8), scale), (np.zeros((2, 40), np.uint8), None)):
        with pytest.raises(ValueError, match=r"stored has the wrong size|least value"):
            module.read_blocks("Q4_1", stored, codes, scale, least)
    with pytest.raises(ValueError, match="not read"):
        module.read_blocks("Q6_K", np.zeros((2, 40), np.uint8), codes, scale, scale)
