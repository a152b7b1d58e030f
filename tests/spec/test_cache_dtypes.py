"""Cache dtypes against published layouts: bytes per vector, per latent row, per page, and what a person may write.

Sources: vLLM 0.33 (flashmla_sparse.py, turboquant), DeepSeek's FlashMLA README, llama.cpp's ggml block sizes (the
gguf package).
"""

from fractions import Fraction

import pytest

from windowtax.base.errors import BadInput, UnknownName
from windowtax.base.units import GIB, MIB
from windowtax.catalog.read import read_model
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import CACHE_DTYPES, cache_dtype

VECTOR_128 = {
    "fp32": 512,
    "bf16": 256,
    "fp16": 256,
    "fp8": 128,
    "fp8_token_head": 132,
    "int8": 132,
    "int4": 68,
    "int4_channel": 80,
    "int4_hadamard": 68,
    "mxfp8": 132,
    "mxfp4": 68,
    "nvfp4": 72,
    "q8_0": 136,
    "q5_1": 96,
    "q5_0": 88,
    "q4_1": 80,
    "q4_0": 72,
    "iq4_nl": 72,
    "tq3_0": 56,
}
"""Bytes of one vector of 128 numbers with its scales."""

TURBO = {
    "turboquant_k8v4": (128, 68),
    "turboquant_4bit_nc": (66, 68),
    "turboquant_k3v4_nc": (50, 68),
    "turboquant_3bit_nc": (50, 52),
}
"""Bytes of a key and of a value of 128 numbers."""


def layout(model: str, dtype: str, block_size: int = 32) -> CacheLayout:
    return read_model(model).layout(cache_dtype(dtype), block_size)


@pytest.mark.parametrize("name", VECTOR_128)
def test_a_vector_of_128_numbers(name: str) -> None:
    assert cache_dtype(name).vector_bytes(128) == VECTOR_128[name]


@pytest.mark.parametrize("name", TURBO)
def test_turboquant_keeps_keys_and_values_differently(name: str) -> None:
    dtype = cache_dtype(name)
    assert (dtype.vector_bytes(128), dtype.values.vector_bytes(128)) == TURBO[name]
    assert layout("qwen3-8b", name).growth_bytes_per_token == 36 * 8 * sum(TURBO[name])


def test_every_dtype_is_in_one_of_these_tables() -> None:
    latent = {"fp8_ds_mla", "nvfp4_ds_mla"}
    assert set(CACHE_DTYPES) == {*VECTOR_128, *TURBO, *latent, "tbq3_0"}


def test_llama_cpp_blocks_are_those_of_ggml() -> None:
    gguf = pytest.importorskip("gguf")
    for name in ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"):
        numbers, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name.upper()]]
        assert cache_dtype(name).group == numbers
        assert cache_dtype(name).vector_bytes(numbers) == size


def test_tbq3_0_has_98_bytes_per_256_numbers() -> None:
    assert cache_dtype("tbq3_0").vector_bytes(256) == 98
    with pytest.raises(BadInput, match="per 256 numbers"):
        cache_dtype("tbq3_0").vector_bytes(128)


@pytest.mark.parametrize(("dtype", "mib"), [("q4_0", 1152), ("tq3_0", 896)])
def test_qwen3_5_27b_at_65536_tokens(dtype: str, mib: int) -> None:
    """The table of Luce-Org's lucebox PR 21: attention layers only."""
    found = layout("qwen3.5-27b", dtype)
    assert (found.bytes_for(65_536) - found.state_bytes) / MIB == mib


# --- latent rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "row"), [("bf16", 1_152), ("fp8", 576), ("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352), ("fp32", 2_304)]
)
def test_a_latent_row_of_deepseek_v3(dtype: str, row: int) -> None:
    assert layout("deepseek-v3", dtype).growth_bytes_per_token == 61 * row


@pytest.mark.parametrize(
    ("dtype", "row", "key"),
    [
        ("bf16", 1_152, 256),
        ("fp8_ds_mla", 656, 132),
        ("fp8", 576, 132),
        ("fp8_ds_mla+index:mxfp4", 656, 68),
        ("fp8_ds_mla+index:bf16", 656, 256),
    ],
)
def test_a_row_of_deepseek_v3_2_and_its_index_key(dtype: str, row: int, key: int) -> None:
    assert layout("deepseek-v3.2", dtype).growth_bytes_per_token == 61 * (row + key)


def test_sglang_prints_the_same_bytes_per_token_for_v3_2() -> None:
    """sgl-project/sglang PR #11309: 1,462,784 tokens take 54.52 GiB without the index and 65.49 GiB with it."""
    found = layout("deepseek-v3.2", "fp8_ds_mla")
    assert found.bytes_for(1_462_784) / GIB == pytest.approx(65.49, abs=0.01)
    rows = next(group for group in found.groups if group.cache.planes[0].name == "latent")
    assert rows.token_bytes * 1_462_784 / GIB == pytest.approx(54.52, abs=0.01)


def test_deepseek_selects_but_keeps_and_scans_everything() -> None:
    found = layout("deepseek-v3.2", "bf16")
    assert found.read_bytes(131_072) == 61 * (2_048 * 1_152 + 131_072 * 256)
    assert found.read_bytes(1_000) == found.bytes_for(1_000)
    assert found.bytes_for(131_072) == 61 * 131_072 * 1_408


@pytest.mark.parametrize(
    ("model", "dtype", "per_256_tokens"),
    [
        ("deepseek-v4-pro", "fp8_ds_mla+index:mxfp4", 1_315_008),
        ("deepseek-v4-pro", "fp8_ds_mla", 1_435_968),
        ("deepseek-v4-flash", "fp8_ds_mla+index:mxfp4", 917_568),
        ("deepseek-v4-flash", "fp8_ds_mla", 1_002_240),
    ],
)
def test_served_pages_of_deepseek_v4(model: str, dtype: str, per_256_tokens: int) -> None:
    """vllm-project/vllm PR #48993: strides of the pool's pages, padded to 576 bytes, in blocks of 256 tokens."""
    found = layout(model, dtype, 256)
    pages = [found.block_bytes(i) for i, group in enumerate(found.groups) if group.cache.grows]
    assert sum(pages) == per_256_tokens


def test_a_compressed_row_of_deepseek_v4_is_there_when_its_tokens_are() -> None:
    """Exact for any length: 30 layers of a row per 4 tokens with an index key, 31 of a row per 128, and 61 windows."""
    found = layout("deepseek-v4-pro", "bf16")
    for n in (1, 3, 4, 127, 128, 129, 8_191, 1_048_576):
        window = 61 * min(n, 128) * 1_024
        assert found.bytes_for(n) == window + 30 * (n // 4) * 1_280 + 31 * (n // 128) * 1_024
    assert found.bytes_for(1_048_576) == 10_334_371_840


def test_the_compressor_of_deepseek_v4_works_in_a_buffer_that_is_allocated() -> None:
    """vLLM's compressor.py: fp32, 8 slots x 2 x 2 x 512 and 8 x 2 x 2 x 128 in CSA, 128 x 2 x 512 in HCA."""
    found = layout("deepseek-v4-pro", "bf16")
    buffers = 4 * (30 * 8 * 2 * 2 * (512 + 128) + 31 * 128 * 2 * 512)
    assert (found.workspace_bytes, found.state_bytes) == (buffers, 0)
    assert found.pool_bytes_for(8_192, 512) >= found.bytes_for(8_192) + buffers


def test_v4_rows_of_528_bytes() -> None:
    """The V4.1 row: 512 e4m3 and 16 exponents."""
    planes = cache_dtype("mxfp8").shared_planes(
        512, 64, next(iter(layout("phi-4", "bf16").groups)).cache.planes[0].grows
    )
    assert sum(plane.unit_bytes for plane in planes) == 528


# --- what a person may write --------------------------------------------------------------------------------------


def test_keys_and_values_may_differ() -> None:
    assert layout("qwen3-8b", "int8/int4").growth_bytes_per_token == 36 * 8 * (132 + 68)
    assert layout("qwen3-8b", "q8_0/q4_0").growth_bytes_per_token == 36 * 8 * (136 + 72)
    assert cache_dtype("int8/int4").name == "int8/int4"
    assert layout("qwen3-8b", "k8v4") == layout("qwen3-8b", "int8/int4_hadamard")


def test_keys_by_channel_are_five_bits_and_wait_in_a_tail() -> None:
    """Codes of 4 bits, and an fp16 scale and least value per channel and 32 tokens: 4 + 32 / 32 bits."""
    found = layout("qwen3-8b", "k4v4")
    assert found == layout("qwen3-8b", "int4_channel") == layout("qwen3-8b", "int4_channel/int4_hadamard")
    assert found.growth_bytes_per_token == 36 * 8 * (80 + 68)
    assert found.block_bytes(0) == 36 * 32 * 8 * (80 + 68)
    assert (found.workspace_bytes, found.state_bytes) == (36 * 32 * 8 * 128 * 2, 0)
    assert found.pool_bytes_for(100, 512) == 4 * found.block_bytes(0) + found.workspace_bytes
    windows = layout("gemma-3-12b", "k4v4")
    assert windows.window_bytes == 40 * 1_024 * 8 * (256 * 5 // 8 + 132)
    assert layout("qwen3-8b", "bf16/bf16").growth_bytes_per_token == layout("qwen3-8b", "bf16").growth_bytes_per_token


def test_edges_stay_in_bf16() -> None:
    found = layout("qwen3-8b", "turboquant_3bit_nc+edges:2")
    assert found.growth_bytes_per_token == 8 * (4 * 512 + 32 * 102)
    assert {group.layers for group in found.groups if group.token_bytes == 4 * 8 * 512} == {(0, 1, 34, 35)}


def test_edges_are_layers_that_keep_tokens() -> None:
    found = layout("nemotron-3-nano-30b-a3b", "int8+edges:1")
    wide = next(group for group in found.groups if not group.cache.is_state and group.cache.planes[0].element == "bf16")
    assert wide.layers == (5, 42)


def test_more_edges_than_layers_are_all_layers() -> None:
    assert layout("qwen3-8b", "int4+edges:99").groups == layout("qwen3-8b", "bf16").groups


@pytest.mark.parametrize(("dtype", "bits"), [("bf16", 32), ("fp8+state:bf16", 16), ("bf16+state:fp16", 16)])
def test_the_state_dtype_is_a_knob(dtype: str, bits: int) -> None:
    conv = 8_192 * 3 * 2
    assert layout("qwen3.5-35b-a3b", dtype).state_bytes == 30 * (conv + 32 * 128 * 128 * bits // 8)


def test_llama_cpp_keeps_both_states_in_fp32() -> None:
    assert layout("qwen3.5-35b-a3b", "f16+state:f32+conv:f32").state_bytes == 30 * (8_192 * 3 + 32 * 128 * 128) * 4


@pytest.mark.parametrize(("typed", "name"), [("f16", "fp16"), ("bfloat16", "bf16"), ("int8_per_token_head", "int8")])
def test_spellings_of_others(typed: str, name: str) -> None:
    assert cache_dtype(typed) is CACHE_DTYPES[name]


@pytest.mark.parametrize(
    ("typed", "error", "message"),
    [
        ("int3", UnknownName, "int3"),
        ("int8/int3", UnknownName, "int3"),
        ("int8+edges:x", BadInput, "edges:x"),
        ("int8+edges", BadInput, "edges"),
        ("int8+warp:2", BadInput, "warp:2"),
        ("bf16+state:q4", UnknownName, "q4"),
        ("fp8_ds_mla/int4", BadInput, "latent rows"),
        ("k4v4/int8", UnknownName, "k4v4"),
    ],
)
def test_what_cannot_be_read_is_an_error(typed: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cache_dtype(typed)


def test_a_latent_layout_on_a_model_without_latent_rows_is_an_error() -> None:
    with pytest.raises(BadInput, match="fp8_ds_mla is a layout of latent rows"):
        layout("qwen3-8b", "fp8_ds_mla")


@pytest.mark.parametrize("model", ["deepseek-v3", "deepseek-v4-pro"])
def test_keys_by_channel_are_no_layout_of_latent_rows(model: str) -> None:
    with pytest.raises(BadInput, match="layout of keys of heads"):
        layout(model, "k4v4")


def test_growth_is_exact_where_it_is_no_whole_number() -> None:
    found = layout("deepseek-v4-pro", "fp8_ds_mla")
    assert found.growth == Fraction(30 * (584 + 132), 4) + Fraction(31 * 584, 128)
    assert found.growth_bytes_per_token == round(found.growth)
