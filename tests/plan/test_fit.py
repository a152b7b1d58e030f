"""How workloads fit accelerators: by hand, and against what engines reported (facts/models.md, section 4)."""

import pytest

from tests.plan.specs import GEMMA_LIKE, LLAMA_8B, LLAMA_70B, LLAMA_405B, MISTRAL_7B, SMOLLM_135M
from windowtax.base.errors import BadInput
from windowtax.base.units import GIB
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.fit import Deployment, Sizing, fewest_accelerators, fit_to
from windowtax.plan.schemes import SCHEMES
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.workload import Workload


def sizing(spec, device="h100", context=131_072, users=1, weights="bf16", cache="bf16", **more):
    return Sizing(
        spec=spec,
        hardware=hardware(device),
        workload=Workload(context_tokens=context, users=users),
        scheme=SCHEMES[weights],
        dtype=cache_dtype(cache),
        **more,
    )


def test_70b_at_128k_takes_four_h100():
    """131 GiB of weights and 40 GiB of cache: two cards hold neither both nor the weights with a tenth to spare."""
    fit = fewest_accelerators(sizing(LLAMA_70B))
    assert fit.deployment == Deployment(tensor_parallel=4)
    assert fit.fits and fit.nodes == 1 and fit.kv_copies == 1
    assert fit.budget.cache_bytes == 10 * GIB


def test_eight_ranks_keep_one_kv_head_each():
    budget = sizing(LLAMA_70B).group(8, 1, 1)
    assert budget.cache_bytes_per_user == 131_072 * 80 * 2 * 1 * 128 * 2 == 5 * GIB


def test_more_ranks_than_kv_heads_store_the_cache_several_times():
    fit = sizing(LLAMA_70B, device="tpu-v5e", context=8192).fit(Deployment(tensor_parallel=16))
    assert fit.kv_copies == 2


def test_three_ranks_cannot_split_eight_kv_heads():
    assert not sizing(LLAMA_70B).splits(3)
    assert sizing(LLAMA_70B).tensor_parallel_sizes() == [1, 2, 4, 8]
    assert sizing(SMOLLM_135M).tensor_parallel_sizes() == [1]
    with pytest.raises(BadInput, match="split over 3"):
        sizing(LLAMA_70B).fit(Deployment(tensor_parallel=3))


def test_most_users_fill_the_room_to_the_last_one():
    wanted = sizing(LLAMA_8B, context=16_384)
    most = wanted.group(1, 1, 1).most_users
    assert wanted.group(1, 1, most).left_bytes >= 0
    assert wanted.group(1, 1, most + 1).left_bytes < 0


def test_the_longest_context_fits_and_one_block_more_does_not():
    longest = sizing(LLAMA_8B, users=3).group(1, 1, 3).longest_context_tokens
    at = sizing(LLAMA_8B, context=longest, users=3).group(1, 1, 3)
    beyond = sizing(LLAMA_8B, context=longest + 32, users=3).group(1, 1, 3)
    assert at.left_bytes >= 0 > beyond.left_bytes


def test_a_model_of_windows_only_is_unbounded():
    assert sizing(MISTRAL_7B).group(1, 1, 1).longest_context_tokens is None


def test_windows_are_allocated_with_the_chunks_headroom():
    plain, chunked = (sizing(GEMMA_LIKE, context=8192, chunk_tokens=chunk).group(1, 1, 1) for chunk in (1, 2048))
    assert (
        chunked.cache_bytes_per_user
        > plain.cache_bytes_per_user
        > GEMMA_LIKE.layout(cache_dtype("bf16")).bytes_for(8192)
    )


def test_users_beyond_one_node_take_more_groups():
    fit = fewest_accelerators(sizing(LLAMA_70B, users=24))
    assert fit.deployment.tensor_parallel == 8 and fit.deployment.replicas == 3
    assert fit.fits and fit.nodes == 3 and fit.most_users >= 24


def test_405b_in_bf16_takes_two_nodes_of_stages():
    fit = fewest_accelerators(sizing(LLAMA_405B))
    assert fit.deployment == Deployment(tensor_parallel=8, pipeline_stages=2)
    assert fit.nodes == 2 and fit.fits


def test_stages_hold_all_weights_and_all_cache_once():
    wanted = sizing(LLAMA_405B)
    parts = list(wanted.stages(8, 3))
    whole = next(wanted.stages(8, 1))
    assert sum(weights for weights, _ in parts) == pytest.approx(whole[0], rel=1e-6)
    assert sum(layout.bytes_for(131_072) for _, layout in parts) == whole[1].bytes_for(131_072)


def test_what_no_number_of_nodes_holds_is_said_so():
    fit = fewest_accelerators(sizing(LLAMA_405B, device="l4", context=2**31))
    assert not fit.fits and fit.budget.left_bytes < 0 and fit.most_users == 0


def test_a_given_number_of_accelerators_is_kept():
    assert fit_to(sizing(LLAMA_8B), 4).deployment == Deployment(tensor_parallel=4)
    assert fit_to(sizing(SMOLLM_135M, context=4096, users=8), 8).deployment == Deployment(tensor_parallel=1, replicas=8)
    assert fit_to(sizing(LLAMA_405B), 16).deployment == Deployment(tensor_parallel=8, pipeline_stages=2)
    short = fit_to(sizing(LLAMA_70B), 1)
    assert not short.fits and short.deployment.accelerators == 1
    with pytest.raises(BadInput):
        fit_to(sizing(LLAMA_70B), 0)


def test_vllm_on_an_rtx_3090_holds_the_tokens_it_reported():
    """vllm-project/vllm#10517: 3.81 GiB of cache are 31,232 tokens of Llama-3.1-8B fp16 in blocks of 16."""
    layout = LLAMA_8B.layout(cache_dtype("fp16"), block_size=16)
    assert layout.pool_bytes_for(31_232, 512) == 3.8125 * GIB


def test_hugging_faces_table_at_128000_tokens():
    """HF blog llama31.md: 15.62 and 39.06 "GB", which are GiB, at 128,000 tokens."""
    for spec, gib in ((LLAMA_8B, 15.625), (LLAMA_70B, 39.0625)):
        assert sizing(spec, context=128_000).layout().bytes_for(128_000) == gib * GIB


def test_activations_are_the_formula():
    # chunk x (2 x 4096 + gate 14336 + up 14336 + down 4096) x 2 B + 5 users x vocabulary x 4 B
    assert sizing(LLAMA_8B).activation_bytes(5) == 2048 * (2 * 4096 + 2 * 14_336 + 4096) * 2 + 5 * 128_256 * 4
