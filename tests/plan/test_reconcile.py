"""Logs of running engines beside the models they served: facts/models.md section 4, and further public ones.

Each log in logs/ is in the words its engine prints; its figures are those reported at the source named here: issues and
pull requests on GitHub, or files of public repositories (by their id in the code search that found them). The profile
gives every printed digit.
"""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from tests.plan import measured_specs as specs
from windowtax.base.errors import BadInput, UnknownName, UnsupportedModel
from windowtax.plan.logs import read_log
from windowtax.plan.logs.record import BillLog, LlamaCppLog, SglangLog, VllmLog, printed
from windowtax.plan.reconcile import reconcile, reconciliation_json
from windowtax.schedule.scheduler import DEFAULT_STEP_TOKENS
from windowtax.spec.dtypes import cache_dtype

LOGS = Path(__file__).parent / "logs"

EXACT = {
    # case 1, vllm#10517, 20k.
    "vllm-0.6-llama-3.1-8b-20k": (
        specs.LLAMA_8B,
        "bf16",
        1,
        {"blocks, 31,232 tokens": 1952, "pool of one rank, 1,952 blocks": 31_232 * 131_072},
    ),
    # case 1, vllm#10517, 29k.
    "vllm-0.6-llama-3.1-8b-29k": (
        specs.LLAMA_8B,
        "bf16",
        1,
        {"tokens that the pool holds": 23_648, "pool of one rank, 1,478 blocks": 23_648 * 131_072},
    ),
    # case 2, vllm#21348, SGLang.
    "sglang-qwen3-235b-tp4": (
        specs.QWEN3_235B,
        "bf16",
        4,
        {"K of 367,404 tokens": 367_405 * 94 * 128 * 2, "V of 367,404 tokens": 367_405 * 94 * 128 * 2},
    ),
    # case 4, sglang PR 11309, with the index.
    "sglang-deepseek-v3.2-with-index": (
        specs.V32,
        "fp8_ds_mla",
        1,
        {"DP0 TP0: KV of 975,424 tokens": (975_424 + 64) * 61 * 788},
    ),
    # case 4, sglang PR 11309, what the pool of the other run takes.
    "sglang-deepseek-v3.2-whole-pool": (
        specs.V32,
        "fp8_ds_mla",
        1,
        {"DP0 TP0: KV of 1,462,784 tokens": (1_462_784 + 64) * 61 * 788},
    ),
    # case 7, ktransformers#1870.
    "sglang-qwen3.5-397b-tp2": (
        specs.QWEN35_397B,
        "bf16",
        2,
        {"ssm state of 82 slots": 83 * 45 * 64 * 128 * 128 * 4 // 2, "K of 580,364 tokens": 580_365 * 15 * 256 * 2},
    ),
    # case 8, AI-Playground#325.
    "llamacpp-gpt-oss-120b-2016": (
        specs.GPT_OSS_120B,
        "bf16",
        1,
        {"cells of windowed layers": 640, "K of 640 cells, windowed layers": 640 * 18 * 1024},
    ),
    # case 10, vllm PR 48993.
    "vllm-deepseek-v4-pro": (
        specs.V4_PRO,
        "fp8_ds_mla+index:mxfp4",
        1,
        {"blocks, 5,454,336 tokens": 21_306, "pool of one rank, 21,306 blocks": 21_306 * 1_315_008},
    ),
    # case 10, before it.
    "vllm-deepseek-v4-pro-before": (
        specs.V4_PRO,
        "fp8_ds_mla",
        1,
        {"pool of one rank, 19,015 blocks": 19_015 * 1_473_408},
    ),
    # club-3090#612: Qwen3.6-35B, vLLM 0.24, RTX 5090.
    "vllm-0.24-qwen3.6-35b-july-6": (
        specs.QWEN36_35B,
        "bf16",
        1,
        {"tokens that the pool holds": 567_978},
    ),
    # club-3090#652: the same, three days later.
    "vllm-0.24-qwen3.6-35b-july-9": (
        specs.QWEN36_35B,
        "bf16",
        1,
        {"tokens that the pool holds": 569_878},
    ),
    # talos-argocd-proxmox PR 1995: 27B hybrid, fp8, two RTX 3090.
    "vllm-27b-hybrid-fp8-tp2": (
        specs.QWEN36_27B,
        "bf16",
        2,
        {"tokens that the pool holds": 302_921},
    ),
    # Gemma 4 E2B, vLLM, A10G (find_string id 69808241206).
    "vllm-gemma-4-e2b": (
        specs.GEMMA4_E2B,
        "bf16",
        1,
        {"tokens that the pool holds": 106_443},
    ),
    # a 27B hybrid in llama.cpp, q8_0, four sequences (find_string id 56781022437).
    "llamacpp-27b-hybrid-4-sequences": (
        specs.QWEN36_27B,
        "bf16",
        1,
        {"S states of 4 sequences": 4 * 48 * 48 * 128 * 128 * 4},
    ),
    # the same with two states to roll back to (find_string id 67314251052).
    "llamacpp-27b-hybrid-rollback": (
        specs.QWEN36_27B,
        "bf16",
        1,
        {"S states of 1 sequence": 3 * 48 * 48 * 128 * 128 * 4},
    ),
    # gpt-oss-20b in llama.cpp's Hexagon notes, q8_0, ubatch 128 (find_string id 1131611191).
    "llamacpp-gpt-oss-20b-q8": (
        specs.GPT_OSS_20B,
        "bf16",
        1,
        {"cells": 8192, "cells of windowed layers": 256},
    ),
    # gpt-oss-120b in llama.cpp with --swa-full (find_string id 20705324730).
    "llamacpp-gpt-oss-120b-swa-full": (
        specs.GPT_OSS_120B,
        "bf16",
        1,
        {"cells of windowed layers": 4096},
    ),
    # DeepSeek-Coder-V2-Lite in llama.cpp before MLA, eight streams (find_string id 66375053134).
    "llamacpp-deepseek-coder-v2-lite": (
        specs.V2_LITE,
        "bf16",
        1,
        {"K of 2,048 cells in 8 streams": 8 * 2048 * 27 * 16 * 192 * 2},
    ),
    # an 8B with 36 layers in llama.cpp, q8_0 (find_string id 55076029863).
    "llamacpp-qwen3-vl-8b-q8": (
        specs.QWEN3_VL_8B,
        "bf16",
        1,
        {"K of 8,192 cells": 306 * 2**20},
    ),
    # Gemma 4 E2B in llama.cpp on Vulkan, buffers only, four slots in one stream (find_string id 67250378044).
    "llamacpp-gemma-4-e2b-buffers": (
        specs.GEMMA4_E2B,
        "bf16",
        None,
        {"cells of windowed layers": 4096, "KV of 8,192 cells, layers without a window": 48 * 2**20},
    ),
    # vllm#28228: 7 MLA and 20 KDA layers on two RTX 3090.
    "vllm-0.11-kimi-linear-tp2": (specs.KIMI_LINEAR, "bf16", None, {"tokens that the pool holds": 75_840}),
    # A 27B hybrid in SGLang on an H100 (find_string id 65830671609).
    "sglang-27b-hybrid": (
        specs.QWEN36_27B,
        "bf16",
        1,
        {"ssm state of 124 slots": 125 * 48 * 48 * 128 * 128 * 4, "K of 330,323 tokens": 330_324 * 32_768},
    ),
    # Gemma 4 26B in SGLang (find_string id 67060834076).
    "sglang-gemma-4-26b": (
        specs.GEMMA4_26B,
        "bf16",
        1,
        {"KV of 213,761 tokens, 171,008 of windowed layers": 213_762 * 5 * 4096 + 171_009 * 25 * 8192},
    ),
}


def logged(name):
    return read_log((LOGS / f"{name}.log").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXACT)
def test_the_profile_gives_what_the_engine_printed(name):
    spec, dtype, ranks, expected = EXACT[name]
    made = reconcile(spec, logged(name), cache_dtype(dtype), ranks)
    rows = {row.quantity: row for row in made.rows}
    assert made.agrees, [(row.quantity, row.profile, row.measured.text) for row in made.rows]
    assert {quantity: rows[quantity].profile for quantity in expected} == expected
    assert all(row.difference == 0 for row in made.rows)


def test_case_2b_leaves_a_percent_of_this_workers_memory():
    log = read_log("Available KV cache memory: 8.11 GiB\nGPU KV cache size: 178,880 tokens")
    pool, tokens = reconcile(specs.QWEN3_235B, log, cache_dtype("bf16"), 4).rows
    assert pool.profile == 178_880 * 94 * 2 * 128 * 2
    assert float(pool.profile / pool.measured.value) == pytest.approx(1 - 0.011, abs=1e-3)
    assert pool.explained and "least free memory" in pool.note and not pool.agrees
    assert tokens.explained and 178_880 / tokens.profile == pytest.approx(1 - 0.011, abs=1e-3)


def test_case_4_the_line_without_the_index_is_explained():
    log = read_log("[DP0 TP0] KV Cache is allocated. #tokens: 1462784, KV size: 54.52 GB")
    (row,) = reconcile(specs.V32, log, cache_dtype("fp8_ds_mla"), 1).rows
    assert not row.agrees and "leaves out the index" in row.note


@pytest.mark.parametrize(
    ("spec", "said", "parts"),
    [
        # Case 13: the HF blog of Llama 3.1 prints GiB as GB, at 128,000 tokens, and the first upload's 16 KV heads.
        (specs.LLAMA_8B, "15.62 GB at 128,000 tokens", ["GB stands for 2^30"]),
        (specs.LLAMA_8B, "15.62 GB at 128K tokens", ["128,000 tokens where 131,072", "2^30"]),
        (specs.LLAMA_70B, "39.06 GB at 128,000 tokens", ["2^30"]),
        (specs.LLAMA_405B, "123.05 GB at 128,000 tokens", ["16 KV heads instead of 8, as the first upload", "2^30"]),
        # Case 14: 62 layers, with the MTP layer.
        (specs.V3, "8.72 GiB at 131072 tokens", ["62 layers", "MTP"]),
        # facts/models.md 3, article 3 (the factor of K and V was dropped) and article 1 (MHA on a 70B).
        (specs.LLAMA_8B, "8.0 GB at 128K tokens", ["leaves out v", "2^30"]),
        (specs.LLAMA_70B, "320 GiB at 128K tokens", ["all 64 query heads (MHA) instead of 8"]),
    ],
)
def test_figures_of_pages_are_explained(spec, said, parts):
    (row,) = reconcile(spec, read_log(said), cache_dtype("bf16")).rows
    assert not row.agrees and row.explained
    assert all(part in row.note for part in parts), row.note


def test_a_figure_that_nothing_explains_is_called_so():
    (row,) = reconcile(specs.LLAMA_8B, read_log("21.7 GB at 128K tokens"), cache_dtype("bf16")).rows
    assert not row.explained and "Nothing known here" in row.note


def test_ranks_are_found_where_the_log_is_silent():
    spec, dtype, ranks, _ = EXACT["sglang-qwen3.5-397b-tp2"]
    made = reconcile(spec, logged("sglang-qwen3.5-397b-tp2"), cache_dtype(dtype))
    assert made.agrees and made.subject.tensor_parallel == ranks
    assert any(note.startswith("Assumed: 2") for note in made.notes)


def test_fp8_of_a_log_means_the_served_rows_of_a_latent_model():
    log = read_log(
        "KV Cache is allocated. dtype: torch.float8_e4m3fn, #tokens: 975424, KV size: 43.67 GB\n--tp 1 --page-size 64"
    )
    made = reconcile(specs.V32, log, cache_dtype("bf16"))
    assert made.agrees and made.subject.dtype.name == "fp8_ds_mla"


def test_sglang_pools_of_windows_are_read_together():
    # SGLang's SWAKVPool on Gemma 4 26B-A4B in fp8 (find_string id 70350793512): 25 windowed layers, 5 others.
    log = read_log("SWAKVPool mem usage: 3.18 GB, swa size: 29664, full size: 37081")
    (row,) = reconcile(specs.GEMMA4_26B, log, cache_dtype("fp8"), 1).rows
    assert row.agrees and row.profile == 29_665 * 25 * 4096 + 37_082 * 5 * 2048


def test_vllm_without_a_hybrid_manager_keeps_everything_on_every_layer():
    tokens = 160_000
    size = tokens * 36 * 2048
    log = read_log(
        f"Available KV cache memory: {size / 2**30:.2f} GiB\nGPU KV cache size: {tokens:,} tokens\n"
        f"Maximum concurrency for 131,072 tokens per request: {tokens / 131_072:.2f}x"
    )
    made = reconcile(specs.GPT_OSS_120B, log, cache_dtype("bf16"), 1)
    assert made.agrees and any("hybrid manager is off" in note for note in made.notes)


def test_several_workers_take_what_the_least_of_them_has_room_for():
    lines = [
        f"(Worker_TP{rank} pid={rank}) Available KV cache memory: {size} GiB" for rank, size in ((0, 3.95), (1, 3.81))
    ]
    log = read_log("\n".join([*lines, "GPU KV cache size: 62,464 tokens"]))
    assert isinstance(log, VllmLog) and (log.tensor_parallel, len(log.available)) == (2, 2)
    made = reconcile(specs.LLAMA_8B, log, cache_dtype("bf16"))
    assert made.agrees and "3.95 GiB" in made.notes[-1]


def test_of_several_starts_in_one_log_the_last_counts():
    log = read_log(
        "Available KV cache memory: 2.00 GiB\nGPU KV cache size: 16,384 tokens\n"
        "Available KV cache memory: 3.81 GiB\nGPU KV cache size: 31,232 tokens\n"
    )
    assert isinstance(log, VllmLog)
    assert (log.tokens, [figure.text for figure in log.available]) == (31_232, ["3.81 GiB"])


def bill(context: int, prompt: int, output: int, pool: int, held: int) -> str:
    return json.dumps(
        {
            "answer": "",
            "bill": {
                "model": "gpt-oss-20b",
                "cache_dtype": "bf16",
                "tokens": {"prompt": prompt, "output": output, "admitted_context": context, "max_context": 131_072},
                "cache": {"pool": {"allocated_bytes": pool}, "held_at_peak": {"measured_bytes": held}},
            },
        }
    )


def test_our_own_bill_is_what_the_layout_says():
    layout = specs.GPT_OSS_20B.layout(cache_dtype("bf16"))
    # 12 layers of each sort, 2,048 B per token and layer, blocks of 32: 313 whole ones, and a window beside a step.
    window_blocks = -(-(127 + DEFAULT_STEP_TOKENS - 1) // 32) + 1
    pool = (313 + window_blocks) * 12 * 32 * 2048
    log = read_log(bill(10_000, 9_000, 100, pool, pool))
    assert isinstance(log, BillLog)
    rows = reconcile(specs.GPT_OSS_20B, log, cache_dtype("bf16")).rows
    assert rows[0].agrees and rows[0].profile == pool
    assert rows[0].logical == layout.bytes_for(10_000) == 12 * 2048 * (10_000 + 128)
    assert not rows[1].agrees and rows[1].measured.value == pool


def test_records_are_exact_and_serialisable():
    spec, dtype, ranks, _ = EXACT["llamacpp-gpt-oss-120b-2016"]
    made = reconcile(spec, logged("llamacpp-gpt-oss-120b-2016"), cache_dtype(dtype), ranks)
    record = json.loads(json.dumps(reconciliation_json(made)))
    assert record["agrees"] and record["engine"] == "llamacpp" and record["cache_dtype"] == "fp16"
    first = record["rows"][0]
    assert (first["logical"], first["profile"], first["printed"]) == (37_158_912, 37_158_912, "35.44 MiB")


def test_printed_figures_hold_what_rounds_to_them():
    figure = printed("8.23", "GB", 2**30)
    assert figure.shows(Fraction(8234, 1000) * 2**30) and not figure.shows(Fraction(8236, 1000) * 2**30)
    assert figure.meaning(10**9).value == 8_230_000_000


def test_readers_take_settings_from_command_lines_and_records():
    vllm = read_log(
        "vllm serve Qwen/Qwen3-8B --tensor-parallel-size 4 --kv-cache-dtype fp8 --max-num-batched-tokens=2048\n"
        "Setting attention block size to 1056 tokens to ensure that ...\nGPU KV cache size: 1,056 tokens"
    )
    assert isinstance(vllm, VllmLog)
    assert (vllm.tensor_parallel, vllm.cache_dtype, vllm.batched_tokens, vllm.block_tokens) == (4, "fp8", 2048, 1056)
    sglang = read_log(
        "server_args=ServerArgs(tp_size=8, page_size=64)\nKV Cache is allocated. #tokens: 10, KV size: 1.00 GB"
    )
    assert isinstance(sglang, SglangLog) and (sglang.tensor_parallel, sglang.page_tokens) == (8, 64)
    old = read_log(
        "llama_new_context_with_model: n_ctx      = 2048\n"
        "llama_new_context_with_model: KV self size  = 2560.00 MiB, K (f16): 1280.00 MiB, V (f16): 1280.00 MiB"
    )
    # facts/models.md 1.1: Command R v01 with 64 KV heads, 2,560 MiB at 2,048 tokens.
    assert isinstance(old, LlamaCppLog) and old.caches[0].cells == 2048
    assert reconcile(specs.of("command-r", [specs.full(64, 64, 128)] * 40, 8192), old, cache_dtype("bf16")).agrees


@pytest.mark.parametrize(
    ("text", "error"),
    [("INFO: Started server process", BadInput), ("{broken", BadInput), ('{"answer": 1}', BadInput), ("", BadInput)],
)
def test_logs_that_say_nothing_are_refused(text, error):
    with pytest.raises(error):
        read_log(text)


def test_unknown_cache_types_and_layouts_are_refused():
    log = read_log(
        "llama_kv_cache: size = 1.00 MiB ( 256 cells, 32 layers, 1/1 seqs), K (turbo9): 0.50 MiB, V (turbo9): 0.50 MiB"
    )
    with pytest.raises(UnknownName, match="turbo9"):
        reconcile(specs.LLAMA_8B, log, cache_dtype("bf16"))
    with pytest.raises(UnsupportedModel):
        reconcile(
            specs.V4_PRO, read_log("KV Cache is allocated. #tokens: 10, KV size: 1.00 GB"), cache_dtype("bf16"), 1
        )


def test_lines_pasted_in_another_order_are_read_too() -> None:
    """Whoever greps two lines out of a vLLM log may paste the size before the memory it was cut from."""
    lines = ["INFO Available KV cache memory: 3.81 GiB", "INFO GPU KV cache size: 31,232 tokens"]
    in_order, reversed_order = (read_log("\n".join(order)) for order in (lines, lines[::-1]))
    assert in_order == reversed_order
    assert in_order.available
