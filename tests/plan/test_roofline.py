"""The roofline against published measurements (facts/models.md, section 5); tolerances are what was seen, rounded up.

docs/accuracy.md says which constant was fitted to which of them.
"""

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, MIXTRAL
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.roofline import Rank, decode_floor, prefill_floor
from windowtax.plan.schemes import SCHEMES
from windowtax.plan.weights import WeightBytes
from windowtax.spec.dtypes import cache_dtype


def rank(spec, device, scheme, ranks=1, cache="bf16"):
    return Rank(
        spec=spec,
        hardware=hardware(device),
        scheme=SCHEMES[scheme],
        weights=WeightBytes.of(spec, SCHEMES[scheme], ranks),
        layout=spec.shard(ranks).layout(cache_dtype(cache)),
        tensor_parallel=ranks,
    )


def test_slope_and_intercept_of_the_vllm_post():
    """Llama-3.1-8B bf16 on one H100: 4.37e-5 ms per token and 6.44 ms."""
    one = rank(LLAMA_8B, "h100", "bf16")
    short, long = one.decode(1, 1).overlap_s, one.decode(100_001, 1).overlap_s
    assert (long - short) / 100_000 * 1e3 == pytest.approx(4.37e-5, rel=0.06)
    assert short * 1e3 == pytest.approx(6.44, rel=0.05)


@pytest.mark.parametrize(
    ("tokens", "seconds"),
    [(32_768, 1.33), (49_152, 2.38), (65_536, 3.57), (81_920, 5.07), (98_304, 6.75), (114_688, 8.74), (131_072, 10.1)],
)
def test_ttft_of_the_vllm_post(tokens, seconds):
    assert rank(LLAMA_8B, "h100", "bf16").prefill(tokens, 0, 8192).overlap_s == pytest.approx(seconds, rel=0.08)


@pytest.mark.parametrize(
    ("device", "ranks", "context", "milliseconds"),
    [
        ("h100", 2, 1382, 17.41),
        ("h100", 4, 1382, 11.78),
        ("h100", 8, 1382, 9.11),
        ("h200", 1, 1382, 21.47),
        ("h200", 2, 1382, 13.91),
        ("h200", 4, 1382, 9.85),
        ("h200", 8, 1382, 7.93),
    ],
)
def test_inferencex_tpot_of_four_users(device, ranks, context, milliseconds):
    """Llama-3.1-70B FP8 under vLLM, 1k/1k at concurrency 4; lengths are 0.9 of nominal, output half done.

    Others' prompts are too short to be seen between the tokens; with longer ones test_published.py reckons.
    """
    step = rank(LLAMA_70B, device, "fp8", ranks).decode(context, 4)
    assert step.overlap_s * 1e3 == pytest.approx(milliseconds, rel=0.07)
    assert step.bound_by == "memory"


@pytest.mark.parametrize(("ranks", "milliseconds"), [(2, 737.5), (4, 453.3), (8, 300.8)])
def test_inferencex_ttft_at_8k(ranks, milliseconds):
    found = rank(LLAMA_70B, "h100", "fp8", ranks).prefill(7373, 0, 8192)
    assert found.overlap_s * 1e3 == pytest.approx(milliseconds, rel=0.2)


@pytest.mark.parametrize(("users", "milliseconds", "within"), [(1, 18.58, 0.07), (5, 21.83, 0.15)])
def test_nvidia_nim_tpot_of_few_users(users, milliseconds, within):
    """Llama-3.3-70B FP8 on two H100, 5000/500."""
    found = rank(LLAMA_70B, "h100", "fp8", 2).decode(5250, users).overlap_s * 1e3
    assert found == pytest.approx(milliseconds, rel=within)


@pytest.mark.parametrize(("scheme", "tokens_per_s", "within"), [("bf16", 93.89, 0.02), ("int8", 137.64, 0.05)])
def test_gpt_fast_on_an_a100(scheme, tokens_per_s, within):
    assert 1 / rank(LLAMA_8B, "a100", scheme).decode(200, 1).overlap_s == pytest.approx(tokens_per_s, rel=within)


def test_a_decode_floor_is_bytes_over_bandwidth():
    layout, device = LLAMA_8B.layout(cache_dtype("bf16")), hardware("h100")
    floor = decode_floor(LLAMA_8B, device, 8192, layout)
    weights = 2 * (8_030_261_248 - 128_256 * 4096) + 2 * 4096
    assert floor.bytes == weights + 8192 * 131_072
    assert floor.seconds == pytest.approx(floor.bytes / 3.35e12)
    assert floor.flops == LLAMA_8B.decode_flops(8192)
    assert floor.bound_by == "memory"


def test_a_decode_floor_takes_weight_bytes_as_given_and_the_layouts_cache_bytes():
    layout = GEMMA_LIKE.layout(cache_dtype("int8"))
    floor = decode_floor(GEMMA_LIKE, hardware("cpu"), 100_000, layout, weight_bytes=1e9, batch=3)
    assert floor.bytes == 1e9 + 3 * layout.read_bytes(100_000)


def test_a_prefill_floor_is_flops_over_peak():
    floor = prefill_floor(LLAMA_8B, hardware("h100"), 8192)
    assert floor.seconds == pytest.approx(LLAMA_8B.prefill_flops(8192) / 989e12)
    assert floor.bound_by == "compute"
    one = prefill_floor(LLAMA_8B, hardware("h100"), 1, 8191, layout=LLAMA_8B.layout(cache_dtype("bf16")))
    assert one.bound_by == "memory"
    assert one.bytes > 8191 * 131_072


def test_no_time_beats_its_floor():
    for spec, device in ((LLAMA_8B, "h100"), (MIXTRAL, "cpu")):
        real = rank(spec, device, "bf16")
        floor = decode_floor(spec, hardware(device), 4096, real.layout, batch=2)
        assert real.decode(4096, 2).overlap_s > floor.seconds
        assert real.prefill(4096, 0, 4096).overlap_s > prefill_floor(spec, hardware(device), 4096).seconds
        ideal = Rank(
            spec=spec,
            hardware=hardware(device).as_floor(),
            scheme=real.scheme,
            weights=real.weights,
            layout=real.layout,
        )
        assert ideal.decode(4096, 2).overlap_s == pytest.approx(floor.seconds)


def test_no_overlap_is_the_sum_and_the_link_costs_something():
    step = rank(LLAMA_70B, "h100", "bf16", 8).prefill(8192, 0, 2048)
    assert step.serial_s == pytest.approx(step.memory_s + step.compute_s + step.link_s + step.overhead_s)
    assert step.overlap_s < step.serial_s
    # 2 all-reduces x 80 layers x 8,192 tokens x 8,192 numbers x 2 B x 2 x 7/8 over 450 GB/s x 0.82; and in each of the
    # 4 chunks 14 steps of a ring of 2.7 us instead of the 9 us that are counted with the layers
    sent_s = 2 * 80 * 8192 * 8192 * 2 * 2 * 7 / 8 / (450e9 * 0.82)
    assert step.link_s == pytest.approx(sent_s + 4 * 2 * 80 * (14 * 2.7e-6 - 9e-6))


@pytest.mark.parametrize(("mebibytes", "nccl_us"), [(16, 121), (32, 195), (47.84, 267), (64, 316)], ids=str)
def test_a_large_all_reduce_among_eight_takes_what_nccl_takes(mebibytes, nccl_us):
    """pynccl on eight Hopper cards, vllm-project/vllm#42324; the line through it is good for 13 %."""
    one = rank(LLAMA_70B, "h100", "bf16", 8)
    per_layer_s = one.link_s(int(mebibytes * 64)) / 80 + 2 * one.hardware.all_reduce_s.value
    assert per_layer_s / 2 == pytest.approx(nccl_us * 1e-6, rel=0.13)


def test_few_tokens_are_sent_to_all_at_once():
    one = rank(LLAMA_70B, "h100", "bf16", 8)
    assert one.link_s(512) == pytest.approx(512 * one.link_s(1))
    assert one.link_s(513) > 1.4 * one.link_s(512)


def test_experts_that_are_widened_reach_a_share_and_others_all():
    """gpt-oss: mxfp4 on bf16 units. DeepSeek-V3: fp8 on fp8 units of an H100, on bf16 units of an A100."""
    oss, deepseek = read_model("gpt-oss-20b"), read_model("deepseek-v3")
    one = rank(oss, "h100", "mxfp4")
    # 24 layers, 4 of 32 experts, gate, up and down of 2,880 x 2,880
    routed = 2 * 24 * 4 * 3 * 2880**2
    assert one.widened_flops == pytest.approx(routed * (1 / 0.55 - 1))
    expected = (1000 * (oss.layer_flops_per_token + one.widened_flops) + oss.head_flops_per_token) / (989e12 * 0.6)
    assert one.matrices_s(1000, 1) == pytest.approx(expected)
    assert rank(deepseek, "h100", "fp8").widened_flops == 0 < rank(deepseek, "a100", "fp8").widened_flops


def test_weights_cache_and_widened_weights_each_reach_their_own_share():
    plain, narrow, cached = (
        rank(LLAMA_8B, "a100", scheme).decode(tokens, 1) for scheme, tokens in (("bf16", 1), ("int8", 1), ("bf16", 2))
    )
    weights = 2 * (8_030_261_248 - 128_256 * 4096) + 2 * 4096
    assert plain.memory_s == pytest.approx(weights / (2.039e12 * 0.834), rel=1e-4)
    assert narrow.memory_s == pytest.approx(narrow.bytes / (2.039e12 * 0.68), rel=1e-3)
    assert cached.memory_s - plain.memory_s == pytest.approx(131_072 / (2.039e12 * 0.85), rel=1e-6)
    # fp8 is multiplied as it is on an H100 and widened on an A100.
    assert rank(LLAMA_8B, "h100", "fp8").weight_bytes_per_s == pytest.approx(3.35e12 * 0.926)
    assert rank(LLAMA_8B, "a100", "fp8").weight_bytes_per_s == pytest.approx(2.039e12 * 0.68)


def test_the_constant_counts_layers_experts_and_all_reduces():
    assert rank(LLAMA_8B, "h100", "bf16").overhead_s == pytest.approx(32 * 53e-6)
    assert rank(LLAMA_8B, "h100", "bf16", 8).overhead_s == pytest.approx(32 * (53e-6 + 2 * 9e-6))
    assert rank(MIXTRAL, "h100", "bf16").overhead_s == pytest.approx(32 * (53e-6 + 69e-6))


def test_quantised_matrices_leave_attention_in_16_bits():
    fp8 = rank(LLAMA_70B, "h100", "fp8").prefill(65_536, 0, 65_536)
    matrices = (65_536 * LLAMA_70B.layer_flops_per_token + LLAMA_70B.head_flops_per_token) / (1978e12 * 0.43)
    assert fp8.compute_s == pytest.approx(matrices + LLAMA_70B.attention_flops(0, 65_536) / (989e12 * 0.6))
