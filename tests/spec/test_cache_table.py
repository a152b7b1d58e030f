"""What each model's cache costs: published shapes against figures that were worked out apart from this code.

bf16, no rounding to blocks. growth: bytes per further token once every window is full. window: bytes of all windows and
chunks when full. state: bytes per sequence, recurrent states in fp32. The totals are GiB at 8,192, 131,072 and
1,048,576 tokens, beyond a model's trained length too. Window and state bytes are exact; totals as printed in the
survey of configs and engine sources of 2026-11 that the project's facts hold (models.md, 1.5).
"""

from dataclasses import dataclass

import pytest

from windowtax.base.units import GIB, KIB, MIB
from windowtax.catalog.read import read_model
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype

BF16 = cache_dtype("bf16")
LENGTHS = (8_192, 131_072, 1_048_576)


@dataclass(frozen=True)
class Row:
    """One row. model: a catalog name, or the layers of a model whose config no family reads yet."""

    model: str | tuple[AttentionKind, ...]
    growth: int
    window: int
    gib: tuple[float, float, float]
    state: int = 0


def full(num_kv_heads: int, head_dim: int = 128) -> FullAttention:
    return FullAttention(
        num_query_heads=num_kv_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, v_head_dim=head_dim, rope=None
    )


def sliding(window_tokens: int, num_kv_heads: int, head_dim: int = 128) -> SlidingAttention:
    return SlidingAttention(
        num_query_heads=num_kv_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        v_head_dim=head_dim,
        rope=None,
        window_tokens=window_tokens,
    )


COMMAND_R_PLUS = (full(8),) * 64
COMMAND_A = (sliding(4096, 8),) * 48 + (full(8),) * 16
KIMI_K3 = (
    LatentAttention(
        num_query_heads=96,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        q_lora_rank=1536,
        rope=None,
    ),
) * 24 + (KimiDelta(num_heads=96, head_dim=128, gate_rank=None),) * 69

ROWS = {
    "Llama 3 8B": Row("llama-3-8b", 131_072, 0, (1.000, 16.000, 128.000)),
    "Llama 3.1 8B": Row("llama-3.1-8b", 131_072, 0, (1.000, 16.000, 128.000)),
    "Llama 3 70B": Row("llama-3-70b", 327_680, 0, (2.500, 40.000, 320.000)),
    "Llama 3.1 70B": Row("llama-3.1-70b", 327_680, 0, (2.500, 40.000, 320.000)),
    "Llama 3.1 405B": Row("llama-3.1-405b", 516_096, 0, (3.938, 63.000, 504.000)),
    "Llama 4 Scout": Row("llama-4-scout", 49_152, 1_207_959_552, (1.500, 7.125, 49.125)),
    "Llama 4 Maverick": Row("llama-4-maverick", 49_152, 1_207_959_552, (1.500, 7.125, 49.125)),
    "Mistral 7B v0.1": Row("mistral-7b-v0.1", 0, 536_870_912, (0.500, 0.500, 0.500)),
    "DeepSeek-67B": Row("deepseek-67b", 389_120, 0, (2.969, 47.500, 380.000)),
    "DeepSeek-V2": Row("deepseek-v2", 69_120, 0, (0.527, 8.438, 67.500)),
    "DeepSeek-V3": Row("deepseek-v3", 70_272, 0, (0.536, 8.578, 68.625)),
    "DeepSeek-V3.2": Row("deepseek-v3.2", 85_888, 0, (0.655, 10.484, 83.875)),
    "Kimi K2": Row("kimi-k2", 70_272, 0, (0.536, 8.578, 68.625)),
    "Kimi K2.5": Row("kimi-k2.5", 70_272, 0, (0.536, 8.578, 68.625)),
    "GLM-5": Row("glm-5", 109_824, 0, (0.838, 13.406, 107.250)),
    "GLM-5.2": Row("glm-5.2", 95_232, 0, (0.727, 11.625, 93.000)),
    "DeepSeek-V4-Pro": Row("deepseek-v4-pro", 9_848, 7_995_392, (0.083, 1.210, 9.625)),
    "DeepSeek-V4-Flash": Row("deepseek-v4-flash", 6_880, 5_636_096, (0.058, 0.845, 6.724)),
    "Qwen3-Next-80B-A3B": Row("qwen3-next-80b-a3b", 24_576, 0, (0.259, 3.072, 24.072), 77_266_944),
    "Qwen3.5-35B-A3B": Row("qwen3.5-35b-a3b", 20_480, 0, (0.216, 2.560, 20.060), 64_389_120),
    "Qwen3.6-35B-A3B": Row("qwen3.6-35b-a3b-nvfp4", 20_480, 0, (0.216, 2.560, 20.060), 64_389_120),
    "Qwen3.5-27B": Row("qwen3.5-27b", 65_536, 0, (0.643, 8.143, 64.143), 153_944_064),
    "Qwen3.5-122B-A10B": Row("qwen3.5-122b-a10b", 24_576, 0, (0.331, 3.143, 24.143), 153_649_152),
    "Qwen3.5-397B-A17B": Row("qwen3.5-397b-a17b", 30_720, 0, (0.413, 3.929, 30.179), 192_061_440),
    "Kimi-Linear-48B-A3B": Row("kimi-linear-48b-a3b", 8_064, 0, (0.102, 1.025, 7.915), 43_417_600),
    "Kimi K3": Row(KIMI_K3, 27_648, 0, (0.629, 3.794, 27.419), 449_372_160),
    "MiniMax-Text-01": Row("minimax-text-01", 40_960, 0, (0.586, 5.273, 40.273), 293_601_280),
    "Jamba v0.1": Row("jamba-v0.1", 16_384, 0, (0.140, 2.015, 16.015), 16_056_320),
    "Nemotron-3-Nano": Row("nemotron-3-nano-30b-a3b", 6_144, 0, (0.093, 0.796, 6.046), 49_082_368),
    "MiniMax-M2.5": Row("minimax-m2.5", 253_952, 0, (1.938, 31.000, 248.000)),
    "Gemma 2 9B": Row("gemma-2-9b", 172_032, 704_643_072, (1.969, 21.656, 168.656)),
    "Gemma 2 27B": Row("gemma-2-27b", 188_416, 771_751_936, (2.156, 23.719, 184.719)),
    "Gemma 3 4B": Row("gemma-3-4b", 20_480, 121_634_816, (0.270, 2.613, 20.113)),
    "Gemma 3 12B": Row("gemma-3-12b", 65_536, 335_544_320, (0.812, 8.312, 64.312)),
    "Gemma 3 27B": Row("gemma-3-27b", 81_920, 436_207_616, (1.031, 10.406, 80.406)),
    "Gemma 3n E4B": Row("gemma-3n-e4b", 8_192, 16_777_216, (0.078, 1.016, 8.016)),
    "Gemma 4 E2B": Row("gemma-4-e2b", 6_144, 6_291_456, (0.053, 0.756, 6.006)),
    "Gemma 4 E4B": Row("gemma-4-e4b", 16_384, 20_971_520, (0.145, 2.020, 16.020)),
    "Gemma 4 26B-A4B": Row("gemma-4-26b-a4b", 20_480, 209_715_200, (0.352, 2.695, 20.195)),
    "Gemma 4 31B": Row("gemma-4-31b", 81_920, 838_860_800, (1.406, 10.781, 80.781)),
    "gpt-oss-20b": Row("gpt-oss-20b", 24_576, 3_145_728, (0.190, 3.003, 24.003)),
    "gpt-oss-120b": Row("gpt-oss-120b", 36_864, 4_718_592, (0.286, 4.504, 36.004)),
    "MiMo-V2-Flash": Row("mimo-v2-flash", 23_040, 25_559_040, (0.200, 2.836, 22.524)),
    "GLM-4.5": Row("glm-4.5", 376_832, 0, (2.875, 46.000, 368.000)),
    "GLM-4.5-Air": Row("glm-4.5-air", 188_416, 0, (1.438, 23.000, 184.000)),
    "GLM-4-9B": Row("glm-4-9b", 40_960, 0, (0.312, 5.000, 40.000)),
    "Phi-4 14B": Row("phi-4", 204_800, 0, (1.562, 25.000, 200.000)),
    "SmolLM2-135M": Row("smollm2-135m", 23_040, 0, (0.176, 2.812, 22.500)),
    "SmolLM3-3B": Row("smollm3-3b", 73_728, 0, (0.562, 9.000, 72.000)),
    "Qwen3 0.6B": Row("qwen3-0.6b", 114_688, 0, (0.875, 14.000, 112.000)),
    "Qwen3 1.7B": Row("qwen3-1.7b", 114_688, 0, (0.875, 14.000, 112.000)),
    "Qwen3 4B": Row("qwen3-4b", 147_456, 0, (1.125, 18.000, 144.000)),
    "Qwen3 8B": Row("qwen3-8b", 147_456, 0, (1.125, 18.000, 144.000)),
    "Qwen3 14B": Row("qwen3-14b", 163_840, 0, (1.250, 20.000, 160.000)),
    "Qwen3 32B": Row("qwen3-32b", 262_144, 0, (2.000, 32.000, 256.000)),
    "Qwen3-30B-A3B": Row("qwen3-30b-a3b", 98_304, 0, (0.750, 12.000, 96.000)),
    "Qwen3-235B-A22B": Row("qwen3-235b-a22b", 192_512, 0, (1.469, 23.500, 188.000)),
    "Qwen2.5-7B-1M": Row("qwen2.5-7b-1m", 57_344, 0, (0.438, 7.000, 56.000)),
    "Qwen2.5-14B-1M": Row("qwen2.5-14b-1m", 196_608, 0, (1.500, 24.000, 192.000)),
    "Command R v01": Row("command-r", 1_310_720, 0, (10.000, 160.000, 1280.000)),
    "Command R 08-2024": Row("command-r-08-2024", 163_840, 0, (1.250, 20.000, 160.000)),
    "Command R+": Row(COMMAND_R_PLUS, 262_144, 0, (2.000, 32.000, 256.000)),
    "Command R7B": Row("command-r7b", 32_768, 402_653_184, (0.625, 4.375, 32.375)),
    "Command A (inferred)": Row(COMMAND_A, 65_536, 805_306_368, (1.250, 8.750, 64.750)),
    "Nemotron-Super-49B": Row("nemotron-super-49b", 200_704, 0, (1.531, 24.500, 196.000)),
}


def layout_of(model: str | tuple[AttentionKind, ...]) -> CacheLayout:
    if isinstance(model, str):
        return read_model(model).layout(BF16)
    return CacheLayout.of(layer.caches(BF16) for layer in model)


@pytest.mark.parametrize("name", ROWS)
def test_cache_of(name: str) -> None:
    row = ROWS[name]
    layout = layout_of(row.model)
    assert layout.growth_bytes_per_token == row.growth
    assert layout.window_bytes == row.window
    assert layout.state_bytes == row.state
    assert layout.growth == row.growth
    # Half a unit of the last printed digit, and a hair for figures that end in 5.
    assert [layout.bytes_for(length) / GIB for length in LENGTHS] == pytest.approx(list(row.gib), abs=0.000_501)


GALLERY = {
    "llama-3-8b": 128,
    "llama-3.2-1b": 32,
    "qwen3-235b-a22b": 188,
    "qwen3-32b": 256,
    "qwen3-4b": 144,
    "qwen3-8b": 144,
    "smollm3-3b": 72,
    "glm-4.5": 368,
    "minimax-m2.5": 248,
    "phi-4": 200,
    "gemma-3-27b": 496,
    "gpt-oss-120b": 72,
    "llama-4-maverick": 192,
    "deepseek-v3": 68.625,
    "kimi-k2": 68.625,
    "kimi-linear-48b-a3b": 7.875,
    "nemotron-3-nano-30b-a3b": 6,
    "nemotron-3-super-120b-a12b": 8,
    "qwen3.5-397b-a17b": 30,
}
"""KiB per token that Raschka's LLM Architecture Gallery prints; it counts every windowed layer as growing."""


@pytest.mark.parametrize("name", GALLERY)
def test_gallery_prints_the_same_kib_per_token(name: str) -> None:
    layout = layout_of(name)
    assert sum(group.token_bytes for group in layout.groups) / KIB == GALLERY[name]


@pytest.mark.parametrize(
    ("layers", "kib"),
    [((full(25, 64),) * 48, 300), ((full(32),) * 32, 512), ((full(8),) * 40, 160)],
    ids=["GPT-2 XL", "OLMo 2 7B", "Mistral Small 3.1"],
)
def test_gallery_of_hand_built_models(layers: tuple[FullAttention, ...], kib: int) -> None:
    assert layout_of(layers).growth_bytes_per_token / KIB == kib


def test_vllm_prints_the_same_tokens_for_llama_8b() -> None:
    """vllm-project/vllm#10517: 3.81 GiB became 1,952 blocks of 16 tokens, 2.89 GiB 1,478."""
    layout = layout_of("llama-3.1-8b")
    assert round(layout.bytes_for(1952 * 16) / GIB, 2) == 3.81
    assert round(layout.bytes_for(1478 * 16) / GIB, 2) == 2.89


def test_sglang_prints_the_same_bytes_for_a_rank_of_qwen3_235b() -> None:
    """vllm-project/vllm#21348: 367,404 tokens, 8.23 GiB of keys and as much of values on each of 4 ranks."""
    rank = read_model("qwen3-235b-a22b").shard(4).layout(BF16)
    assert round(rank.bytes_for(367_404) / 2 / GIB, 2) == 8.23


def test_llama_cpp_prints_the_same_cells_for_gpt_oss_120b() -> None:
    """intel/AI-Playground#325: 2,016 cells in the 18 full layers are 70.88 MiB; 640 in the windowed ones 22.50 MiB."""
    groups = {group.cache.window: group for group in layout_of("gpt-oss-120b").groups}
    assert round(groups[None].token_bytes * 2016 / MIB, 2) == 70.88
    assert groups[128].token_bytes * 640 / MIB == 22.5


def test_llama_4_keeps_at_most_one_chunk() -> None:
    """36 layers x 8,192 tokens x 4,096 bytes: what the chunks hold when one was just filled."""
    layout = layout_of("llama-4-scout")
    assert layout.window_bytes == 36 * 8_192 * 4_096


def test_mimo_v2_stores_keys_of_192_and_values_of_128() -> None:
    planes = {plane.name: plane.shape for plane in layout_of("mimo-v2-flash").groups[0].cache.planes}
    assert planes == {"k": (4, 192), "v": (4, 128)}
