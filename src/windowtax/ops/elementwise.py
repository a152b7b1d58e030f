"""Norms, RoPE and activations. Sums and rotations are done in float32 whatever the model computes in."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467). weight in float32."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse = norms.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return x.to(torch.float32, copy=True).mul_(inverse).mul_(weight).to(x.dtype)


def rope_angles(positions: Tensor, inv_freq: Tensor) -> Tensor:
    """Angles [T, rotary_dim / 2] of the positions [T], in float32."""
    return positions.float()[:, None] * inv_freq[None, :]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE (Su et al. 2021, arXiv 2104.09864), halves rotated against each other as in Llama's checkpoints.

    x [T, H, D]; cos, sin [T, 1, half] in float32, already multiplied by the attention factor. Only the first
    2 * half numbers of each head turn.
    """
    half = cos.shape[-1]
    wide = x.to(torch.float32, copy=True)
    a, b = wide[..., :half], wide[..., half : 2 * half]
    # In place but for one copy: fresh memory for every product would cost more than the products.
    before = a.clone()
    a.mul_(cos).addcmul_(b, sin, value=-1.0)
    b.mul_(cos).addcmul_(before, sin)
    return wide.to(x.dtype)


def gated(gate_up: Tensor, activation: str) -> Tensor:
    """activation(gate) * up for gate and up side by side in the last dimension. activation: "silu" or "gelu_tanh"."""
    gate, up = gate_up.chunk(2, dim=-1)
    if activation == "silu":
        return functional.silu(gate).mul_(up)
    return functional.gelu(gate, approximate="tanh").mul_(up)
