"""Law 4, second half: every attention path equals the plain reference, in outputs and in log-sum-exp."""

import itertools

import pytest
import torch

from windowtax.ops import reference
from windowtax.ops.attention import attend, merge
from windowtax.ops.elementwise import rms_norm, rope_angles, rotate
from windowtax.ops.selected import attend_selected
from windowtax.ops.tiled import tiled_attention

HEADS = [(4, 4, 16, 16), (6, 2, 16, 16), (4, 1, 32, 32), (4, 2, 24, 16)]
SHAPES = [(1, 1), (1, 9), (1, 300), (7, 7), (5, 23), (300, 300), (290, 1400)]


def tensors(heads: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(hash((heads, shape)) % 1000)
    num_query_heads, num_kv_heads, dim, v_dim = heads
    queries, keys = shape
    make = lambda *size: torch.randn(*size, generator=generator)  # noqa: E731
    return make(queries, num_query_heads, dim), make(keys, num_kv_heads, dim), make(keys, num_kv_heads, v_dim)


def rule(shape: tuple[int, int], causal: bool, window: int | None):
    offset = shape[1] - shape[0]
    if not causal:
        return lambda t, s: True
    return lambda t, s: s <= t + offset and (window is None or s > t + offset - window)


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize(
    ("causal", "window", "softcap"),
    [(False, None, None), (True, None, None), (True, 6, None), (True, None, 15.0), (True, 100, 15.0)],
)
def test_attend_equals_the_reference(heads, shape, causal, window, softcap) -> None:
    q, k, v = tensors(heads, shape)
    expected, expected_lse = reference.attention(q, k, v, rule(shape, causal, window), 0.2, softcap)
    for kernel in (attend, tiled_attention):
        out, lse = kernel(q, k, v, scale=0.2, causal=causal, window=window, softcap=softcap)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(lse, expected_lse, rtol=1e-5, atol=1e-5)


def test_tiles_longer_than_one_tile() -> None:
    q, k, v = tensors(HEADS[1], SHAPES[-1])
    for window in (None, 37):
        expected, _ = reference.attention(q, k, v, rule(SHAPES[-1], True, window), 0.25)
        out, _ = tiled_attention(q, k, v, scale=0.25, causal=True, window=window, softcap=None)
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[10], [1, 5, 22], [22]])
def test_merged_parts_equal_the_whole(cuts: list[int]) -> None:
    q, k, v = tensors((6, 2, 16, 16), (5, 23))
    whole, _ = attend(q, k, v, scale=0.25)
    edges = [0, *cuts, 23]
    parts = [attend(q, k[a:b], v[a:b], scale=0.25) for a, b in itertools.pairwise(edges)]
    torch.testing.assert_close(merge(parts), whole, rtol=1e-5, atol=1e-5)


def test_bf16_stays_within_its_rounding() -> None:
    q, k, v = (x.bfloat16() for x in tensors((9, 3, 64, 64), (17, 190)))
    expected, _ = reference.attention(q.float(), k.float(), v.float(), rule((17, 190), True, None), 0.125)
    out, _ = attend(q, k, v, scale=0.125, causal=True)
    # Outputs are means of values of size 1; bf16 keeps 8 bits, and P is rounded to bf16 inside the kernel.
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=4 * 2**-8)


def test_norm_and_rotation_equal_the_reference() -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(11, 4, 24, generator=generator), torch.randn(24, generator=generator)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), reference.rms_norm(x, weight, 1e-6), rtol=1e-5, atol=1e-6)
    angles = rope_angles(torch.arange(100, 111), torch.tensor([1.0, 0.3, 0.1, 0.01, 0.001]))
    cos, sin = (f(angles)[:, None, :] * 1.1 for f in (torch.cos, torch.sin))
    torch.testing.assert_close(rotate(x, cos, sin), reference.rotate(x, angles, 1.1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("softcap", [None, 15.0])
@pytest.mark.parametrize("shape", [(1, 9), (5, 23), (64, 200)], ids=str)
def test_attention_over_chosen_keys_equals_the_reference(heads, shape, softcap) -> None:
    """Each KV head has a mask of its own, so each is held against the reference alone."""
    q, k, v = tensors(heads, shape)
    group, num_kv_heads = heads[0] // heads[1], heads[1]
    mask = torch.rand(shape[0], num_kv_heads, shape[1], generator=torch.Generator().manual_seed(4)) < 0.3
    mask[..., 0] = True
    out = attend_selected(q, k, v, mask, scale=0.2, softcap=softcap)
    for head in range(num_kv_heads):
        rows, own = slice(head * group, (head + 1) * group), slice(head, head + 1)
        chosen = lambda t, s, head=head: bool(mask[t, head, s])  # noqa: E731
        expected, _ = reference.attention(q[:, rows], k[:, own], v[:, own], chosen, 0.2, softcap)
        torch.testing.assert_close(out[:, rows], expected, rtol=1e-5, atol=1e-5)
