"""Pipeline, expert and ring parallelism: by hand, and against the article's tables."""

from pathlib import Path

import pytest

from tests.plan.specs import LLAMA_8B, LLAMA_70B, LLAMA_405B, MIXTRAL
from tests.plan.test_fit import sizing
from windowtax.base.errors import BadInput
from windowtax.plan.fit import Deployment
from windowtax.plan.parallel import Group, Parallel, fit_parallel, parse_parallel
from windowtax.plan.tables import chunk_rows, ring_rows, tables_page

PAGE = Path(__file__).parents[2] / "docs" / "serving-tables.md"


def group(spec, context=131_072, **arranged):
    return Group.of(sizing(spec, context=context), Deployment(**arranged))


def test_words_become_an_arrangement():
    assert parse_parallel("tp=8, pp=2") == Parallel(tp=8, pp=2)
    for wrong in ("tp", "tp=0", "tp=8,tp=4", "xp=2", "tp=two", ""):
        with pytest.raises(BadInput):
            parse_parallel(wrong)


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (LLAMA_8B, "ep=8"),
        (MIXTRAL, "tp=2,ep=3"),
        (MIXTRAL, "ep=8,ring=2"),
        (LLAMA_8B, "pp=2,ring=2"),
        (LLAMA_8B, "pp=33"),
    ],
)
def test_what_cannot_be_arranged_is_refused(spec, wrong):
    with pytest.raises(BadInput):
        fit_parallel(sizing(spec), parse_parallel(wrong))


def test_an_arrangement_takes_as_many_replicas_as_its_users_need():
    fit = fit_parallel(sizing(LLAMA_70B, users=30), parse_parallel("tp=8"))
    assert fit.fits and fit.deployment.replicas == 3
    assert fit_parallel(sizing(LLAMA_70B, users=30), parse_parallel("tp=8,dp=1")).fits is False


def test_stages_work_on_different_users():
    one, two = group(LLAMA_405B, tensor_parallel=8), group(LLAMA_405B, tensor_parallel=8, pipeline_stages=2)
    sent = 8 * 16_384 * 2 / 8 / (50e9 * 0.926)
    assert two.decode(8192, 16).overlap_s == pytest.approx(one.decode(8192, 8).overlap_s + sent)
    assert two.decode(8192, 1).overlap_s >= one.decode(8192, 1).overlap_s


def test_a_pipeline_reads_a_prompt_in_the_time_of_a_flow_shop():
    """n equal chunks on p equal stages: (n + p - 1) / p of a chunk's time; here the last is the longest."""
    one, four = group(LLAMA_70B, tensor_parallel=1), group(LLAMA_70B, tensor_parallel=1, pipeline_stages=4)
    chunks = [one.prefill(2048, start, 2048).overlap_s for start in range(0, 16_384, 2048)]
    found = four.prefill(16_384, 0, 2048).overlap_s
    assert found == pytest.approx(sum(chunks) / 4 + 3 / 4 * max(chunks), rel=0.01)
    assert four.prefill(2048, 0, 2048).overlap_s == pytest.approx(chunks[0], rel=0.01)


def test_shared_experts_are_read_by_all_attention_groups():
    wide = group(MIXTRAL, context=8192, tensor_parallel=1, expert_parallel=8)
    alone = group(MIXTRAL, context=8192, tensor_parallel=1)
    assert wide.deployment.accelerators == 8 and wide.deployment.attention_groups == 8
    # One token in each of 8 groups touches what 8 tokens of one machine touch; a rank holds an eighth of it.
    routed = [
        weights.read(tokens) - weights.always for weights, tokens in ((alone.rank.weights, 8), (wide.rank.weights, 1))
    ]
    looked_up = alone.rank.weights.per_token
    assert routed[1] - looked_up == pytest.approx((routed[0] - 8 * looked_up) / 8)
    # Two all-to-alls over 450 GB/s: 32 layers x 2 experts x 4,096 numbers x 2 B, seven eighths of it to others.
    assert wide.sent_s(1) == pytest.approx(2 * 32 * 2 * 4096 * 2 * 7 / 8 / (450e9 * 0.926))


def test_a_ring_divides_the_cache_and_not_the_weights():
    one, four = (sizing(LLAMA_8B).fit(Deployment(tensor_parallel=1, ring=ring)) for ring in (1, 4))
    assert four.budget.weights_bytes == one.budget.weights_bytes
    assert four.budget.cache_bytes_per_user * 4 == one.budget.cache_bytes_per_user
    assert four.deployment.accelerators == 4
    rings = [group(LLAMA_8B, tensor_parallel=1, ring=ring).decode(131_072, 1) for ring in (1, 4)]
    saved = 131_072 * 131_072 * 3 / 4 / (3.35e12 * 0.926)
    assert rings[0].memory_s - rings[1].memory_s == pytest.approx(saved)


def test_a_ring_hides_what_it_sends_from_some_hundred_tokens_on():
    found = group(LLAMA_8B, tensor_parallel=1, ring=4)
    # n x 4,096 B / link = n^2 / 2 x 4 x 4,096 FLOP / C per layer.
    by_hand = 4096 / (450e9 * 0.926) * 2 * 989e12 * 0.6 / (4 * 4096)
    least = found.ring(131_072).hidden_from_tokens
    assert least == pytest.approx(by_hand, abs=1)
    assert found.ring(4 * least + 40).waiting_share == 0
    assert found.ring(4 * (least // 2)).waiting_share > 0


def test_the_articles_ring_table_is_not_about_sending():
    for row in ring_rows():
        assert row.ring.waiting_share == 0
        assert row.throughput == pytest.approx(row.devices, rel=0.01)
        if row.devices > 1:
            share = row.devices / (2 - 1 / row.devices)
            assert share < row.contiguous_throughput < row.said_throughput < row.throughput


def test_the_articles_chunk_table_is_too_fast_and_chunks_too_dear():
    """128K on the 8B: at least 6.4 s at the peak, 10.1 s measured; the article says 4.2 s."""
    rows = chunk_rows()
    assert rows[0].prefill_s == pytest.approx(10.1, rel=0.07)
    assert rows[-1].prefill_s / rows[0].prefill_s < 1.03 < rows[-1].said_s / rows[0].said_s
    assert [row.gap_s for row in rows] == sorted((row.gap_s for row in rows), reverse=True)
    assert rows[-1].gap_s > 0.012


def test_the_page_is_fresh():
    assert PAGE.read_text(encoding="utf-8") == tables_page(), "run: python -m windowtax.plan.tables > " + str(PAGE)
