"""int4 for keys, with a scale and a least value per channel over each span of tokens (KIVI; Liu et al. 2024, arXiv
2402.02750, section 3: keys vary by channel far more than by token)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from windowtax.spec.dtypes import CHANNEL_SPAN
from windowtax.store.codecs.base import CODECS, Codec
from windowtax.store.codecs.scaled import pack_nibbles, unpack_nibbles

GREATEST = 15


@CODECS.register("int4_channel")
class Int4Channel(Codec):
    """Half a byte per number, 4 bytes per channel and span. x = scale * code + least, code in 0 ... 15.

    Scale and least value are rounded to fp16 before codes are chosen, so that codes make up for their rounding. The
    plane of scales holds for each span [heads, 2, D]: the scales of a head's channels, then their least values.
    """

    element, scale, span = "int4", "fp16", CHANNEL_SPAN

    def encode(self, values: Tensor) -> tuple[Tensor, ...]:
        spans = values.float().unflatten(0, (-1, self.span))
        least, most = spans.amin(1).half(), spans.amax(1)
        scale = ((most - least) / GREATEST).half()
        inverse = torch.where(scale > 0, scale.float().reciprocal(), 0.0)
        codes = ((spans - least[:, None]) * inverse[:, None]).round_().clamp_(0, GREATEST)
        return pack_nibbles(codes.flatten(0, 1).flatten(1)), torch.stack([scale, least], dim=-2)

    def decode(self, planes: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        codes = unpack_nibbles(planes[0]).unflatten(-1, shape).unflatten(0, (-1, self.span))
        scale, least = planes[1].view(torch.float16).unflatten(-1, (shape[0], 2, shape[1])).float().unbind(-2)
        return (codes * scale[:, None] + least[:, None]).flatten(0, 1)
