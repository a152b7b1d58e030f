"""Mistakes that other planners made, with the threads that tell of them: none of them may be made here."""

import pytest

from windowtax.base.errors import UnknownName, UnsupportedModel
from windowtax.base.units import GIB
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_config, read_model
from windowtax.plan.plan import PlanOptions, make_plan
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload


def layout(name: str, dtype: str = "bf16") -> CacheLayout:
    return read_model(name).layout(cache_dtype(dtype))


def test_an_unknown_gpu_is_an_error_not_another_gpu() -> None:
    """aiconfigurator#1259: an A40 was planned as an H200."""
    with pytest.raises(UnknownName, match="a40"):
        hardware("a40")


def test_memory_is_not_assumed_to_be_linear_in_length() -> None:
    """aiconfigurator#1201; hf-mem#60 dropped the sliding layers altogether."""
    gemma = layout("gemma-3-27b")
    assert gemma.bytes_for(131_072) < 2 * gemma.bytes_for(65_536)
    assert gemma.bytes_for(131_072) == 131_072 * gemma.growth_bytes_per_token + gemma.window_bytes
    assert gemma.window_bytes > 0


def test_a_cached_prefix_is_counted_once() -> None:
    """aiconfigurator#621 took the prefix off twice; dynamo#13188 gave long prompts nothing for it."""
    spec = read_model("llama-3.1-8b")
    whole = spec.prefill_flops(8192)
    parts = spec.prefill_flops(6000) + spec.prefill_flops(2192, start=6000) - spec.head_flops_per_token
    assert whole == parts


def test_reads_count_kv_heads_not_query_heads() -> None:
    """LLM-Viewer#12 read the cache once per query head."""
    llama = layout("llama-3.1-70b")
    assert llama.read_bytes(1000) == 1000 * 327_680


def test_the_head_size_is_not_derived_from_the_hidden_size() -> None:
    """Vidur and llm-analysis take hidden_size // num_heads: 64 for Qwen3-0.6B, whose heads have 128."""
    assert layout("qwen3-0.6b").growth_bytes_per_token == 28 * 8 * 128 * 2 * 2
    assert layout("gemma-3-4b").growth_bytes_per_token == 20_480


def test_a_tflop_is_not_a_tebiflop() -> None:
    """Vidur multiplies TFLOP/s by 2^40 and so overstates every peak by 10%."""
    h100 = hardware("h100-sxm")
    assert h100.peak_flops_per_s["bf16"].value == pytest.approx(989e12, rel=0.001)
    assert h100.memory_bytes.value == 80 * GIB


def test_grouped_queries_are_not_forgotten() -> None:
    """llm-sizer prints 160 GB for Llama-3-70B in 4 bits, 8 users of 32K; with its 8 KV heads it is 20 GiB."""
    planned = 8 * layout("llama-3.1-70b", "int4").bytes_for(32_768)
    # 4.25 bits per number: half a byte and a fp32 scale per 128.
    assert planned == 20 * GIB * 4.25 / 4


def test_one_formula_does_not_serve_all() -> None:
    """unsloth PR#4757: one formula was off by +682% (Gemma 3) to -81% (DeepSeek). The layouts differ in kind."""
    spec = read_model("gemma-3-27b")
    one_formula = 2 * len(spec.layers) * 16 * 128 * 2 * 131_072
    assert one_formula / layout("gemma-3-27b").bytes_for(131_072) > 5


def test_latent_and_hybrid_caches_are_not_taken_for_full_ones() -> None:
    """hf-mem's own function gives 213.5 GiB for DeepSeek-V3 at 131,072 tokens, 24 GiB for Qwen3-Next at 262,144."""
    assert layout("deepseek-v3").bytes_for(131_072) / GIB == pytest.approx(8.578, abs=0.001)
    hybrid = layout("qwen3-next-80b-a3b")
    assert (hybrid.bytes_for(262_144) - hybrid.state_bytes) / GIB == 6.0


def test_a_key_that_nobody_reads_is_not_dropped() -> None:
    """nano-vllm, mlx-lm and hf-mem skip what they do not know; a scaling or a window then vanishes in silence."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
    }
    assert isinstance(read_config(config, "plain"), ModelSpec)
    with pytest.raises(UnsupportedModel, match="sparse_block_size=64"):
        read_config(config | {"sparse_block_size": 64}, "surprising")


def test_the_allocation_is_never_below_what_the_architecture_needs() -> None:
    """hf-mem#70 counted hybrid pages 49% too low; both readings are shown, and rounding only ever adds."""
    for name in ("llama-3.1-8b", "gemma-3-12b", "llama-4-scout", "gpt-oss-20b", "mistral-7b-v0.1"):
        found = layout(name)
        for tokens in (1, 31, 32, 33, 1000, 8192, 100_000):
            assert found.pool_bytes_for(tokens, 2048) >= found.bytes_for(tokens)


def test_weights_and_cache_and_activations_are_all_in_the_sum() -> None:
    """accelerate#3297: an estimate of the weights alone was far from reality."""
    made = make_plan(read_model("llama-3.1-8b"), hardware("h100-sxm"), Workload(context_tokens=131_072), PlanOptions())
    budget = made.fit.budget
    assert budget.weights_bytes > 16e9
    assert budget.cache_bytes_per_user >= 16 * GIB
    assert budget.activations_bytes > 0
    assert budget.usable_bytes >= budget.weights_bytes + budget.cache_bytes_per_user + budget.activations_bytes
