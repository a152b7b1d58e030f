"""Attention over keys that each query and KV head chose for itself."""

import torch
from torch import Tensor

from windowtax.ops.attention import fused, fused_kernel_fits


def attend_selected(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scale: float, softcap: float | None) -> Tensor:
    """Attention of T queries over the keys that a mask leaves.

    q [T, H, D], k [S, K, D], v [S, K, Dv]; mask [T, K, S] tells whether query t reads key s of KV head k; each reads at
    least one. Returns [T, H, Dv] in q's dtype. The whole score matrix is made: callers give tiles of queries.
    """
    num_queries, num_heads, dim = q.shape
    if fused_kernel_fits(q, v, softcap):
        hidden = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, float("-inf"))
        return fused(q, k, v, scale, False, hidden.transpose(0, 1).repeat_interleave(num_heads // k.shape[1], dim=0))[0]
    rows = q.float().view(num_queries, k.shape[1], -1, dim).permute(1, 2, 0, 3) * scale  # [K, G, T, D]
    keys, values = (x.float().transpose(0, 1)[:, None] for x in (k, v))  # [K, 1, S, D]
    scores = rows @ keys.transpose(-1, -2)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill_(~mask.transpose(0, 1)[:, None], float("-inf"))
    out = scores.softmax(-1) @ values
    return out.permute(2, 0, 1, 3).reshape(num_queries, num_heads, -1).to(q.dtype)


def bounds(q: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """The greatest score that any key of a block can have with a query, before scaling (Quest, section 3.3).

    q [T, H, D]; least, most [B, K, D]: of the block's keys, by channel. A channel adds max(q * least, q * most).
    Returns [T, K, B] in float32: of the query heads of a KV head the greatest.
    """
    heads = q.float().unflatten(1, (least.shape[1], -1))  # [T, K, G, D]
    high = torch.einsum("tkgd,bkd->tkgb", heads.clamp(min=0), most.float())
    low = torch.einsum("tkgd,bkd->tkgb", heads.clamp(max=0), least.float())
    return (high + low).amax(2)


def best_blocks(scores: Tensor, own: Tensor, count: int) -> Tensor:
    """Which blocks each query reads: its own, and of those before it the `count` - 1 of the greatest scores.

    scores [T, K, B]; own [T]: the index of the query's own block. Of two equal scores the lower block wins. Returns a
    mask [T, K, B].
    """
    blocks = torch.arange(scores.shape[-1], device=scores.device)
    before = (blocks[None, :] < own[:, None])[:, None]
    ranked = scores.masked_fill(~before, float("-inf")).sort(dim=-1, descending=True, stable=True).indices
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, ranked[..., : count - 1], True)
    return (chosen & before) | (blocks[None, :] == own[:, None])[:, None]


def bf16_down(values: Tensor) -> Tensor:
    """The greatest bf16 numbers that are not above the values."""
    near = values.bfloat16()
    below = torch.nextafter(near, torch.full_like(near, float("-inf")))
    return torch.where(near.float() > values.float(), below, near)


def bf16_up(values: Tensor) -> Tensor:
    """The least bf16 numbers that are not below the values."""
    return -bf16_down(-values)
