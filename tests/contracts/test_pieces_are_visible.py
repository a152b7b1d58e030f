"""Law 4 for masks: the pieces into which a computed kind cuts its queries read exactly what `visible()` says."""

import pytest
import torch
from tests.cases.attention import CASES

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.held import Held
from windowtax.nn.attention.sliding import SlidingLayer
from windowtax.nn.attention.softmax import SoftmaxLayer
from windowtax.nn.inputs import SequenceRows
from windowtax.ops.selected import best_blocks, bf16_down, bf16_up, bounds
from windowtax.spec.attention.base import Reading
from windowtax.spec.attention.softmax import SoftmaxAttention

DENSE = {
    name: kind
    for name, kind in CASES.items()
    if isinstance(kind, SoftmaxAttention) and kind.reading is Reading.ALL and kind.kind in ATTENTION
}


def layer_of(kind: SoftmaxAttention) -> SoftmaxLayer:
    shapes = {weight.name: torch.zeros(weight.shape) for weight in kind.weights(32)}
    layer = ATTENTION.get(kind.kind)(kind, 0, shapes, 1e-6)
    assert isinstance(layer, SoftmaxLayer)
    return layer


def reads(kind: SoftmaxAttention, start: int, end: int) -> torch.Tensor:
    """How much each query start ... end - 1 takes from each position: equal keys, and values that name their token."""
    values = torch.eye(end)[:, None].repeat(1, kind.num_kv_heads, 1)
    keys = torch.zeros(end, kind.num_kv_heads, kind.head_dim)
    q = torch.randn(end - start, kind.num_query_heads, kind.head_dim)
    rows = SequenceRows(slice(0, end - start), start, end, ())
    out = layer_of(kind).attend(q, rows, Held(((0, keys),)), Held(((0, values),)), None)  # type: ignore[arg-type]
    return out[:, 0]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 12), (0, 40), (9, 10), (9, 33), (38, 39), (25, 300)])
def test_a_query_reads_what_is_visible_in_equal_shares(name: str, start: int, end: int) -> None:
    kind = DENSE[name]
    visible = torch.tensor([[kind.visible(query, key) for key in range(end)] for query in range(start, end)])
    expected = visible / visible.sum(-1, keepdim=True)
    torch.testing.assert_close(reads(kind, start, end), expected, rtol=1e-4, atol=1e-6)


def test_the_dense_kinds_are_among_them() -> None:
    assert {kind.kind for kind in DENSE.values()} >= {"full", "sliding", "chunked", "sinks_window"}
    assert issubclass(ATTENTION.get("sliding"), SlidingLayer)


def test_a_bound_is_what_no_key_of_the_block_exceeds() -> None:
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(5, 8, 2, 16, generator=generator)  # five blocks of eight
    q = torch.randn(7, 6, 16, generator=generator)
    found = bounds(q, bf16_down(keys.amin(1)), bf16_up(keys.amax(1)))
    for query in range(7):
        for head in range(2):
            for block in range(5):
                group = q[query, 3 * head : 3 * head + 3].double()
                exact = keys[block, :, head].double()
                assert found[query, head, block] >= (group @ exact.T).max() - 1e-5
                loose = torch.maximum(group[:, None] * exact.amin(0), group[:, None] * exact.amax(0)).sum(-1).max()
                assert found[query, head, block] == pytest.approx(float(loose), rel=0.02, abs=0.05)


def test_bf16_is_rounded_towards_the_side_that_is_asked_for() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    down, up = bf16_down(x), bf16_up(x)
    assert bool((down.float() <= x).all() and (up.float() >= x).all())
    ties = x.bfloat16().float()
    assert torch.equal(bf16_down(ties).float(), ties) and torch.equal(bf16_up(ties).float(), ties)
    assert float((up.float() - down.float()).div(x.abs()).max()) <= 2**-7


def test_the_best_blocks_are_the_own_one_and_the_greatest_before_it() -> None:
    scores = torch.tensor([[[1.0, 5.0, 5.0, 2.0, 9.0, 0.0]]]).expand(3, 2, 6)
    chosen = best_blocks(scores, torch.tensor([0, 3, 5]), 3)
    expected = [[0], [1, 2, 3], [1, 4, 5]]
    for query, blocks in enumerate(expected):
        for head in range(2):
            assert chosen[query, head].nonzero().flatten().tolist() == blocks
    tied = best_blocks(scores, torch.tensor([3, 3, 3]), 2)
    assert tied[0, 0].nonzero().flatten().tolist() == [1, 3], "of two equal ones the lower"
