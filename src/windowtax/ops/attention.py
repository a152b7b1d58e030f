"""Attention over contiguous keys, never with an n x n matrix, and the merge of partial results.

Each call returns its output and the log-sum-exp of its scores, so that results over parts of the keys can be merged
into the result over all of them (Milakov and Gimelshein 2018, arXiv 1805.02867; Dao 2023, arXiv 2307.08691).
"""

import torch
from torch import Tensor

from windowtax.ops.tiled import tiled_attention


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention of T queries over S keys.

    q [T, H, D], k [S, K, D], v [S, K, Dv], H a multiple of K. causal: the last query stands at the last key, so query
    t reads keys up to S - T + t. window: and only the last `window` of those. Returns out [T, H, Dv] in q's dtype and
    the log-sum-exp [T, H] in float32.
    """
    if not fused_kernel_fits(q, v, softcap):
        return tiled_attention(q, k, v, scale=scale, causal=causal, window=window, softcap=softcap)
    num_queries, num_keys = q.shape[0], k.shape[0]
    if causal and num_queries == 1:
        # The single query reads everything, or everything in its window.
        k, v = (x[-window:] if window is not None else x for x in (k, v))
        return _one_query(q, k, v, scale)
    if not causal or (num_queries == num_keys and (window is None or num_keys <= window)):
        return fused(q, k, v, scale, causal, None)
    return fused(q, k, v, scale, False, band_mask(num_queries, num_keys, window, q.dtype, q.device))


def merge(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The attention over the union of several disjoint sets of keys. parts: (out [T, H, D], lse [T, H]) each."""
    if len(parts) == 1:
        return parts[0][0]
    total = torch.logsumexp(torch.stack([lse for _, lse in parts]), dim=0)
    merged = torch.zeros_like(parts[0][0], dtype=torch.float32)
    for out, lse in parts:
        merged.addcmul_(out, (lse - total).exp_()[..., None])
    return merged.to(parts[0][0].dtype)


def band_mask(num_queries: int, num_keys: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0 where query t reads key s, -inf elsewhere, [T, S]: causal, the last query at the last key, windowed."""
    distance = torch.arange(num_queries, device=device)[:, None] + (num_keys - num_queries)
    distance = distance - torch.arange(num_keys, device=device)[None, :]
    hidden = distance < 0
    if window is not None:
        hidden |= distance >= window
    return torch.zeros(num_queries, num_keys, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))


def fused_kernel_fits(q: Tensor, v: Tensor, softcap: float | None) -> bool:
    """Whether `fused` computes this."""
    return q.device.type == "cpu" and softcap is None and q.shape[-1] == v.shape[-1]


def _one_query(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The query heads of one KV head become rows of one small matrix, so each key is read once for all of them."""
    num_kv_heads = k.shape[1]
    rows = q.view(num_kv_heads, -1, q.shape[-1]).transpose(0, 1)
    out, lse = fused(rows, k, v, scale, False, None)
    return out.transpose(0, 1).reshape(1, q.shape[1], -1), lse.transpose(0, 1).reshape(1, -1)


def fused(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """torch's flash attention for CPUs, below scaled_dot_product_attention because that hides the log-sum-exp.

    mask: what is added to the scores, [T, S] or [H, T, S], in q's dtype.
    """
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    q4, k4, v4 = (x.transpose(0, 1)[None] for x in (q, k, v))
    if mask is not None:
        mask = mask.view(1, -1, *mask.shape[-2:])
    out, lse = kernel(q4, k4, v4, 0.0, causal, attn_mask=mask, scale=scale)
    return out[0].transpose(0, 1), lse[0].transpose(0, 1)
