"""What codecs with one scale per vector share."""

import torch
from torch import Tensor


def scale_of(values: Tensor, greatest_code: float) -> tuple[Tensor, Tensor]:
    """Scales [...] in float32 that bring the greatest of each vector [..., D] to `greatest_code`, and their inverses.

    A vector of zeros has the scale 0 and the inverse 0.
    """
    scale = values.abs().amax(-1) / greatest_code
    return scale, torch.where(scale > 0, scale.reciprocal(), 0.0)


def pack_nibbles(codes: Tensor) -> Tensor:
    """Codes 0 ... 15 [..., D] -> bytes [..., D / 2]: of two neighbours the first lies in the low half."""
    pairs = codes.to(torch.uint8).unflatten(-1, (-1, 2))
    return pairs[..., 0] | pairs[..., 1] << 4


def unpack_nibbles(packed: Tensor) -> Tensor:
    """The inverse: bytes [..., D / 2] -> codes 0 ... 15 [..., D] as uint8."""
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2)
