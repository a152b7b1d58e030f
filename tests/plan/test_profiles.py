"""Engine profiles against what engines do to a cache: rounding, grouping, padding, copying, headroom.

Outside figures: facts/models.md sections 2.2 to 2.6 (vLLM 0.33 v1/kv_cache_interface.py, llama.cpp
src/llama-kv-cache-iswa.cpp, SGLang mem_cache/memory_pool.py), and logs of running engines named at each test.
"""

from fractions import Fraction

import pytest

from tests.plan import measured_specs as specs
from windowtax.base.errors import UnsupportedModel
from windowtax.catalog.read import model_names, read_model
from windowtax.plan.profiles.base import PROFILES, Allocation, Subject
from windowtax.plan.profiles.llamacpp import window_cells
from windowtax.plan.profiles.vllm_pool import VllmPool
from windowtax.plan.reconcile import engine_table
from windowtax.spec.dtypes import cache_dtype


def subject(spec, dtype="bf16", ranks=1):
    return Subject(spec, cache_dtype(dtype), ranks)


def sequence(engine, spec, tokens, dtype="bf16", ranks=1):
    return PROFILES.get(engine)().sequence(subject(spec, dtype, ranks), tokens)


def test_every_engine_rounds_a_plain_model_up_to_its_own_blocks():
    # 131,072 B per token; 1,000 tokens are 63 blocks of 16, 32 blocks of 32, 1,000 rows, 1,024 cells.
    taken = {title: taken.bytes for title, taken in engine_table(subject(specs.LLAMA_8B), 1000)}
    assert taken == {
        "windowtax": 1024 * 131_072,
        "vLLM": 1008 * 131_072,
        "SGLang": 1000 * 131_072,
        "llama.cpp": 1024 * 131_072,
    }


@pytest.mark.parametrize(
    ("spec", "ranks", "copies"),
    [
        (specs.LLAMA_70B, 8, 1),  # 8 KV heads, one for each
        (specs.LLAMA_70B, 16, 2),
        (specs.QWEN3_235B, 8, 2),  # 4 KV heads
        (specs.V3, 8, 8),  # latent rows have no heads: a copy on each
    ],
)
def test_ranks_copy_what_does_not_divide(spec, ranks, copies):
    assert subject(spec, ranks=ranks).copies == copies


def test_two_kv_heads_on_eight_ranks_store_the_growing_part_four_times():
    """Qwen3.5 at TP8: facts/models.md 2.6."""
    one, eight = subject(specs.QWEN35_397B), subject(specs.QWEN35_397B, ranks=8)
    assert eight.rank.growth * 8 == 4 * one.whole.growth


@pytest.mark.parametrize(
    ("spec", "dtype", "ranks", "block"),
    [
        # facts/models.md 2.4: 2,096 tokens for Qwen3.6-35B in fp8. Others: vLLM's line "Setting attention block size to
        # ..." for 27B in fp8 on two GPUs (github.com/mitchross/talos-argocd-proxmox pull 1995: 1,568).
        (specs.QWEN36_35B, "fp8", 1, 2096),
        (specs.QWEN36_27B, "fp8", 2, 1568),
    ],
)
def test_vllm_grows_the_attention_block_until_a_state_fits(spec, dtype, ranks, block):
    pool = VllmPool(subject(spec, dtype, ranks).rank)
    assert pool.table_tokens == block
    state = max(part.page_bytes for part in pool.parts if part.group.cache.is_state)
    assert state <= pool.page_bytes
    # No smaller multiple of 16 would do.
    row = next(part.group.cache.token_bytes for part in pool.parts if not part.group.cache.is_state)
    assert (block - 16) * row < state


def test_vllm_makes_pages_of_one_size_and_shares_tensors_between_groups():
    pool = VllmPool(subject(specs.GEMMA4_E2B).rank)
    assert sorted(part.block_tokens for part in pool.parts) == [16, 32]
    assert {part.page_bytes for part in pool.parts} == {16 * 2048}
    assert (pool.group_layers, sum(pool.groups_of)) == (3, 5)
    assert pool.block_bytes == 3 * 32_768


def test_vllm_pads_nearly_equal_counts_instead_of_cutting_them_up():
    """gpt-oss-20b with a drafter: 12 windowed and 13 full layers become two groups of 13 (kv_cache_utils.py)."""
    drafter = specs.of(
        "drafted", [layer.attention for layer in specs.GPT_OSS_20B.layers] + [specs.full(64, 8, 64)], 2880
    )
    pool = VllmPool(subject(drafter).rank)
    assert (pool.group_layers, sum(pool.groups_of)) == (13, 2)
    assert VllmPool(subject(drafter).rank, padding_limit=Fraction(1)).group_layers == 12


@pytest.mark.parametrize("in_flight", [8192, 2049, 2050])
def test_vllm_windows_are_dominated_by_the_prefill_chunk(in_flight):
    # facts/models.md 2.2: ceil((W - 1 + in flight) / block) + 1.
    pool = VllmPool(subject(specs.GPT_OSS_120B).rank, batched_tokens=in_flight)
    assert pool.blocks_of_request(131_072) == 131_072 // 16 + -(-(127 + in_flight) // 16) + 1


def test_vllm_refuses_pages_that_are_no_multiples_of_each_other():
    odd = specs.of("odd", [specs.full(8, 3, 64), specs.sliding(8, 2, 64, 128)] * 2, 512)
    with pytest.raises(UnsupportedModel, match="one size"):
        VllmPool(subject(odd).rank).blocks_of_request(4096)


@pytest.mark.parametrize(("dtype", "block_bytes"), [("fp8_ds_mla+index:mxfp4", 1_315_008), ("fp8_ds_mla", 1_435_968)])
def test_vllm_packs_compressed_rows_into_blocks_of_256_tokens(dtype, block_bytes):
    """facts/models.md 2.3: pages of 576-byte multiples, DeepSeek-V4-Pro."""
    pool = VllmPool(subject(specs.V4_PRO, dtype).rank)
    assert (pool.block_bytes, pool.table_tokens) == (block_bytes, 256)


@pytest.mark.parametrize(
    ("window", "context", "sequences", "ubatch", "padding", "cells"),
    [
        (128, 2016, 1, 512, 32, 640),  # facts/models.md case 8
        (128, 8192, 1, 128, 256, 256),  # llama.cpp's Hexagon notes, gpt-oss-20b
        (2048, 32_768, 1, 512, 256, 2560),  # an ollama log of a model with 13 + 39 layers
        (512, 32_768, 2, 512, 256, 1536),
        (4096, 1024, 1, 512, 256, 1024),  # never more than the context
    ],
)
def test_llamacpp_windows_hold_a_ubatch_and_padding(window, context, sequences, ubatch, padding, cells):
    assert window_cells(window, context, sequences, ubatch, padding) == cells


def test_llamacpp_keeps_states_in_f32():
    # facts/models.md 1.4: 10,240 channels x 3 columns of convolution, 48 heads of 128 x 128.
    state = 48 * (10_240 * 3 + 48 * 128 * 128) * 4
    taken = sequence("llamacpp", specs.QWEN36_27B, 8192)
    assert taken.bytes == 8192 * 65_536 + state
    assert taken.bytes - taken.logical == 48 * 10_240 * 3 * 2


@pytest.mark.parametrize("engine", ["sglang", "llamacpp"])
def test_engines_without_a_known_layout_for_compressed_rows_say_so(engine):
    with pytest.raises(UnsupportedModel, match="several tokens"):
        sequence(engine, specs.V4_PRO, 4096, "fp8_ds_mla")


def test_no_engine_allocates_less_than_the_architecture_asks_for():
    for spec in (specs.LLAMA_8B, specs.GPT_OSS_120B, specs.QWEN36_35B, specs.GEMMA4_E2B, specs.V32):
        for tokens in (1, 100, 4096, 131_072):
            for title, taken in engine_table(subject(spec), tokens):
                assert not isinstance(taken, UnsupportedModel)
                assert taken.bytes >= taken.logical, (spec.name, title, tokens)


def test_every_model_of_the_catalog_has_a_figure_or_a_reason():
    for name in model_names():
        found = dict(engine_table(subject(read_model(name)), 32_768))
        assert list(found) == ["windowtax", "vLLM", "SGLang", "llama.cpp"]
        assert isinstance(found["windowtax"], Allocation), name
        for title, taken in found.items():
            if isinstance(taken, UnsupportedModel):
                assert taken.message, (name, title)
            else:
                assert taken.logical <= taken.bytes, (name, title)
