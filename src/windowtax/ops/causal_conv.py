"""The short convolution in front of recurrent layers: each channel by itself, over the last few tokens."""

import torch
from torch import Tensor


def causal_conv(x: Tensor, before: Tensor, kernel: Tensor) -> Tensor:
    """out[t] = sum over i of kernel[:, i] * (before, x)[t + i], in float32.

    x [T, C]: the tokens. before [K - 1, C]: the ones before them. kernel [C, K]. Returns [T, C].
    """
    seen = torch.cat([before.float(), x.float()])
    taps = kernel.float().unbind(1)
    out = seen[: x.shape[0]] * taps[0]
    for offset, tap in enumerate(taps[1:], 1):
        out.addcmul_(seen[offset : offset + x.shape[0]], tap)
    return out
