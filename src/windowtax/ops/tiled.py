"""Attention in tiles with an online softmax: any device, any head sizes, score caps. The path where no kernel fits."""

import torch
from torch import Tensor

QUERY_TILE = 256
KEY_TILE = 1024


def tiled_attention(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool, window: int | None, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """As ops.attention.attend; scores never take more than QUERY_TILE x KEY_TILE per head."""
    num_queries, offset = q.shape[0], k.shape[0] - q.shape[0]
    outs: list[Tensor] = []
    lses: list[Tensor] = []
    for first in range(0, num_queries, QUERY_TILE):
        tile = q[first : first + QUERY_TILE]
        # Positions of these queries among the keys; without a mask every key is before them.
        positions = torch.arange(first, first + tile.shape[0], device=q.device) + offset
        out, lse = _one_tile(tile, k, v, positions if causal else None, scale, window, softcap)
        outs.append(out)
        lses.append(lse)
    return torch.cat(outs), torch.cat(lses)


def _one_tile(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    positions: Tensor | None,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    num_queries, num_heads, dim = q.shape
    num_kv_heads = k.shape[1]
    rows = q.float().view(num_queries, num_kv_heads, -1, dim).permute(1, 2, 0, 3) * scale  # [K, G, T, D]
    high = torch.full(rows.shape[:-1], float("-inf"), device=q.device)
    total = torch.zeros_like(high)
    acc = torch.zeros(*rows.shape[:-1], v.shape[-1], device=q.device)
    begin, end = _key_range(k.shape[0], positions, window)
    for first in range(begin, end, KEY_TILE):
        last = min(first + KEY_TILE, end)
        keys, values = (x[first:last].float().transpose(0, 1)[:, None] for x in (k, v))  # [K, 1, S, D]
        scores = rows @ keys.transpose(-1, -2)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if positions is not None:
            scores = scores.masked_fill(_hidden(positions, first, last, window), float("-inf"))
        new_high = torch.maximum(high, scores.amax(-1))
        # A row that has seen no key yet has the maximum -inf; 0 in its place keeps exp() away from inf - inf.
        base = new_high.masked_fill(new_high == float("-inf"), 0.0)
        weights = (scores - base[..., None]).exp()
        fade = (high - base).exp()
        total = total * fade + weights.sum(-1)
        acc = acc * fade[..., None] + weights @ values
        high = new_high
    out = (acc / total[..., None]).permute(2, 0, 1, 3).reshape(num_queries, num_heads, -1)
    lse = (high + total.log()).permute(2, 0, 1).reshape(num_queries, num_heads)
    return out.to(q.dtype), lse


def _key_range(num_keys: int, positions: Tensor | None, window: int | None) -> tuple[int, int]:
    if positions is None:
        return 0, num_keys
    begin = 0 if window is None else max(0, int(positions[0]) - window + 1)
    return begin, int(positions[-1]) + 1


def _hidden(positions: Tensor, first: int, last: int, window: int | None) -> Tensor:
    distance = positions[:, None] - torch.arange(first, last, device=positions.device)[None, :]
    hidden = distance < 0
    return hidden if window is None else hidden | (distance >= window)
