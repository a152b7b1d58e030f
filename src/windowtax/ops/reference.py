"""Plain references: what every faster kernel must equal. Written to be read, not to be fast."""

from collections.abc import Callable

import torch
from torch import Tensor


def attention(
    q: Tensor, k: Tensor, v: Tensor, visible: Callable[[int, int], bool], scale: float, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """Attention with the whole score matrix in float64.

    q [T, H, D], k [S, K, D], v [S, K, Dv]; visible(t, s) tells whether row t of q reads row s of k; every row must
    read at least one. Returns the output [T, H, Dv] and the log-sum-exp of the scores [T, H].
    """
    group = q.shape[1] // k.shape[1]
    keys, values = (x.double().repeat_interleave(group, dim=1) for x in (k, v))
    scores = torch.einsum("thd,shd->hts", q.double(), keys) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    mask = torch.tensor([[visible(t, s) for s in range(k.shape[0])] for t in range(q.shape[0])])
    scores = scores.masked_fill(~mask, float("-inf"))
    out = torch.einsum("hts,shd->thd", scores.softmax(-1), values)
    return out.to(q.dtype), scores.logsumexp(-1).T.float()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last dimension, in float64."""
    wide = x.double()
    return (wide * (wide.pow(2).mean(-1, keepdim=True) + eps).rsqrt() * weight.double()).to(x.dtype)


def rotate(x: Tensor, angles: Tensor, factor: float) -> Tensor:
    """RoPE over the first 2 * angles.shape[-1] numbers of every head, pair (i, i + half), in float64.

    x [T, H, D], angles [T, half].
    """
    half = angles.shape[-1]
    cos, sin = (f(angles.double())[:, None, :] * factor for f in (torch.cos, torch.sin))
    a, b, rest = x[..., :half].double(), x[..., half : 2 * half].double(), x[..., 2 * half :].double()
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1).to(x.dtype)
