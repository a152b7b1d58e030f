"""Law 4 for codecs: each equals its plain definition, written here number by number, and keeps its bounds.

Outside witnesses: numpy's float16, ml_dtypes' e4m3 where it is there, and llama.cpp's own block formats (the gguf
package) for what a codec of the same size may lose.
"""

import math

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants

from windowtax.ops import reference
from windowtax.spec.cache import CacheLayout, LayerCache
from windowtax.spec.dtypes import cache_dtype
from windowtax.store.codecs.base import CODECS
from windowtax.store.extent import Extent
from windowtax.store.kv import KVStore

HEADS, DIM, TOKENS = 3, 64, 64


def vectors(seed: int = 0, outliers: bool = True) -> torch.Tensor:
    """[TOKENS, HEADS, DIM]; with a few channels far larger than the rest and away from zero, as keys have them."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(TOKENS, HEADS, DIM, generator=generator)
    if outliers:
        found[..., 5] = found[..., 5] * 2 + 40
        found[..., 40] = found[..., 40] - 25
    found[7, 1] = 0.0
    return found


def stored(name: str, values: torch.Tensor) -> torch.Tensor:
    """What a codec gives back."""
    codec = CODECS.get(name)()
    planes = [plane.flatten(1).view(torch.uint8) for plane in codec.encode(values)]
    return codec.decode(planes, values.shape[1:])


def by_definition(name: str, values: torch.Tensor) -> torch.Tensor:
    exact = values.double().numpy()
    out = np.empty_like(exact)
    for head in range(HEADS):
        if name == "int4_channel":
            for channel in range(DIM):
                for first in range(0, TOKENS, 32):
                    out[first : first + 32, head, channel] = _channel(exact[first : first + 32, head, channel])
        else:
            for token in range(TOKENS):
                out[token, head] = _VECTOR[name](exact[token, head])
    return torch.from_numpy(out)


def _channel(column: np.ndarray) -> np.ndarray:
    least = float(np.float16(column.min()))
    scale = float(np.float16((np.float32(column.max()) - np.float32(least)) / np.float32(15)))
    return np.array([least + scale * min(15, max(0, round((x - least) / scale))) if scale else least for x in column])


def _symmetric(greatest: int):
    def keep(vector: np.ndarray) -> np.ndarray:
        scale = max(abs(vector)) / greatest
        return np.array([scale * round(x / scale) if scale else 0.0 for x in vector])

    return keep


def _hadamard(vector: np.ndarray) -> np.ndarray:
    """Row i, column j of Sylvester's matrix: minus where i & j has an odd number of ones."""
    size = len(vector)
    signs = [[(-1) ** (i & j).bit_count() for j in range(size)] for i in range(size)]
    return np.array(signs) @ vector / math.sqrt(size)


def _turned(vector: np.ndarray) -> np.ndarray:
    turned = _hadamard(vector)
    step = (turned.max() - turned.min()) / 15
    scale, middle = float(np.float16(step)), float(np.float16(turned.min() + 8 * step))
    codes = [min(7, max(-8, round((x - middle) / scale))) if scale else 0 for x in turned]
    return _hadamard(np.array(codes) * scale + middle)


def _e4m3(x: float) -> float:
    """Nearest e4m3 number, ties to even: 3 bits behind the leading one, smallest step 2^-9, greatest 448."""
    if x == 0:
        return 0.0
    step = 2.0 ** (max(math.floor(math.log2(abs(x))), -6) - 3)
    return math.copysign(min(448.0, abs(round(x / step) * step)), x)


def _fp8_scaled(vector: np.ndarray) -> np.ndarray:
    scale = max(abs(vector)) / 448
    return np.array([scale * _e4m3(x / scale) if scale else 0.0 for x in vector])


_VECTOR = {
    "fp32": lambda vector: vector,
    "fp16": lambda vector: vector.astype(np.float16).astype(np.float64),
    "bf16": lambda vector: np.array([_bf16(x) for x in vector]),
    "fp8": lambda vector: np.array([_e4m3(x) for x in vector]),
    "fp8_token_head": _fp8_scaled,
    "int8": _symmetric(127),
    "int8_hadamard": lambda vector: _hadamard(_symmetric(127)(_hadamard(vector))),
    "int4_hadamard": _turned,
}
STEP = {"fp8_token_head": 1 / 14, "int8": 1 / 127, "fp8": 1 / 8}
"""The widest distance between two codes, over the greatest number of the vector."""


def _bf16(x: float) -> float:
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 7) if x else 1.0
    return round(x / step) * step


def test_every_codec_is_here() -> None:
    assert set(CODECS.names()) == {*_VECTOR, "int4_channel"}


@pytest.mark.parametrize("name", CODECS.names())
def test_a_codec_equals_its_definition(name: str) -> None:
    values = vectors()
    found, expected = stored(name, values).double(), by_definition(name, values)
    # A number within float32 rounding of the middle between two codes may fall to either; such are few. Turned back,
    # one of them shows in all of its vector.
    off = (found - expected).abs() > 1e-5 * expected.abs() + 1e-6
    assert off.double().mean() < (1e-2 if name.endswith("hadamard") else 2e-3)
    torch.testing.assert_close(found, expected, rtol=0.15, atol=7.0 if name in STEP else 0.5)
    assert found[7, 1].abs().max() == 0 or name == "int4_channel"


@pytest.mark.parametrize("name", STEP)
def test_a_code_is_at_most_half_a_step_away(name: str) -> None:
    values = vectors()
    error = (stored(name, values) - values).abs().amax(-1)
    assert bool((error <= 0.5001 * STEP[name] * values.abs().amax(-1)).all())


def test_channels_are_half_a_step_of_their_own_range_away() -> None:
    values = vectors()
    spans = values.unflatten(0, (-1, 32))
    step = (spans.amax(1) - spans.amin(1)) / 15
    error = (stored("int4_channel", values) - values).unflatten(0, (-1, 32)).abs().amax(1)
    # Least value and scale are rounded to fp16: 2^-11 of the least value, and 15 times that of the scale.
    slack = spans.abs().amax(1) * 2**-10 + 15 * step * 2**-11
    assert bool((error <= 0.5 * step + slack).all())


def test_what_is_too_large_for_fp8_saturates() -> None:
    found = stored("fp8", torch.tensor([[[1e6, -1e6, 449.0, 447.0]]]))
    assert found.flatten().tolist() == [448.0, -448.0, 448.0, 448.0]


def attention_error(keys: torch.Tensor, values: torch.Tensor, kept_keys: torch.Tensor, kept: torch.Tensor) -> float:
    """Relative error of attention outputs over random queries."""
    q = torch.randn(16, 2 * HEADS, DIM, generator=torch.Generator().manual_seed(9))
    exact, _ = reference.attention(q, keys, values, lambda t, s: True, DIM**-0.5)
    found, _ = reference.attention(q, kept_keys.float(), kept.float(), lambda t, s: True, DIM**-0.5)
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("keys", "values", "most"),
    [
        ("bf16", "bf16", 0.06),
        ("fp8", "fp8", 0.6),
        ("fp8_token_head", "fp8_token_head", 0.6),
        ("int8", "int8", 0.12),
        ("int8_hadamard", "int8", 0.04),
        ("int8_hadamard", "int4_hadamard", 0.14),
        ("int4_channel", "int4_hadamard", 0.28),
    ],
)
def test_attention_outputs_stay_near(keys: str, values: str, most: float) -> None:
    """Keys with channels that stand out by a factor of 40: the case in which scales per token lose most."""
    k, v = vectors(1), vectors(2, outliers=False)
    assert attention_error(k, v, stored(keys, k), stored(values, v)) < most


def ggml(kind: str, x: torch.Tensor) -> torch.Tensor:
    chosen = GGMLQuantizationType[kind]
    return torch.from_numpy(quants.dequantize(quants.quantize(x.numpy(), chosen), chosen)).view(x.shape)


def test_keys_by_channel_lose_far_less_than_llama_cpps_four_bits() -> None:
    """q4_1 has the same size: a scale and a least value in fp16 per 32 numbers, but of one token."""
    k, v = vectors(1), vectors(2, outliers=False)
    ours = attention_error(k, v, stored("int4_channel", k), v)
    for kind in ("Q4_0", "Q4_1"):
        assert ours < 0.5 * attention_error(k, v, ggml(kind, k), v)


def test_turned_values_are_half_a_step_of_their_range_away() -> None:
    """Turned back, errors add up as squares: none is greater than their root mean square before times the root of D."""
    values = vectors()
    turned = torch.from_numpy(np.apply_along_axis(_hadamard, -1, values.double().numpy()))
    step = (turned.amax(-1) - turned.amin(-1)) / 15
    slack = turned.abs().amax(-1) * 2**-10
    error = (stored("int4_hadamard", values).double() - values).norm(dim=-1)
    assert bool((error <= (0.5 * step + slack) * DIM**0.5).all())


@pytest.mark.parametrize("scale_of_few", [1.0, 8.0], ids=["even", "some stand out"])
def test_values_lose_no_more_than_llama_cpps_four_bits(scale_of_few: float) -> None:
    """Both have the same size for heads of 64, 36 bytes: two fp16 scales against a scale and a middle."""
    v = vectors(2, outliers=False)
    v[..., ::17] *= scale_of_few
    ours, theirs = (float((kept - v).norm()) for kept in (stored("int4_hadamard", v), ggml("Q4_0", v)))
    assert ours < 1.15 * theirs if scale_of_few == 1.0 else ours < theirs


def test_int8_loses_no_more_than_llama_cpps_eight_bits_by_much() -> None:
    """q8_0 has the same size for heads of 64: two fp16 scales where ours has one fp32."""
    v = vectors(2, outliers=False)
    ours, theirs = ((kept - v).norm() for kept in (stored("int8", v), ggml("Q8_0", v)))
    assert float(ours / theirs) < 1.25


def test_turned_keys_lose_less_than_llama_cpps_eight_bits() -> None:
    """q8_0 has the same size for heads of 64; a channel that stands out spoils the 32 numbers of its group there."""
    k, v = vectors(1), vectors(2, outliers=False)
    assert attention_error(k, v, stored("int8_hadamard", k), v) < attention_error(k, v, ggml("Q8_0", k), v)


@pytest.mark.parametrize("dtype", ["bf16", "fp8", "int8", "k8v4", "k4v4"])
@pytest.mark.parametrize("blocks", [[2, 3], [4, 1]], ids=["neighbours", "scattered"])
def test_the_store_gives_back_what_the_codec_does(dtype: str, blocks: list[int]) -> None:
    found = cache_dtype(dtype)
    planes = found.key_planes(HEADS, DIM) + found.values.vector_planes("v", HEADS, DIM)
    store = KVStore(CacheLayout.of([LayerCache(planes)] * 2), [6], torch.device("cpu"))
    extent = Extent.of(blocks, 0, TOKENS, 32, torch.device("cpu"))
    k, v = vectors(3), vectors(4)
    (part,) = store.parts(1, "k")
    for name, values in (("k", k), ("v", v)):
        part.vectors[name].write(extent.slots(0, TOKENS), values)
    apart = {
        "int8": ("int8_hadamard", "int8"),
        "k8v4": ("int8_hadamard", "int4_hadamard"),
        "k4v4": ("int4_channel", "int4_hadamard"),
    }
    names = apart.get(dtype, (dtype, dtype))
    for name, codec, values in zip(("k", "v"), names, (k, v), strict=True):
        assert torch.equal(part.vectors[name].read(extent), stored(codec, values))
    # Raw blocks: moved elsewhere they read the same, and nothing of the other layer was touched.
    for source, target in zip(blocks, (0, 5), strict=True):
        data = store.block_bytes(0, source)
        assert len(data) == store.layout.block_bytes(0)
        store.put_block_bytes(0, target, data)
    moved = Extent.of([0, 5], 0, TOKENS, 32, torch.device("cpu"))
    assert torch.equal(part.vectors["k"].read(moved), part.vectors["k"].read(extent))
    assert all(not plane[0].any() for plane in store.planes[0].values())
