"""What full, sliding and chunked attention compute alike: projections, RoPE, the write, and attention by pieces.

A kind only says into which pieces a run of queries falls. The keys of the step are read back from the store, not
taken from the projection: a token then sees the same numbers whether it is computed cold, in chunks or on a hit.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from windowtax.nn.attention.base import Attention
from windowtax.nn.attention.held import Held, keep
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.ops.attention import attend, merge
from windowtax.ops.elementwise import rms_norm, rotate
from windowtax.ops.linear import linear
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention


@dataclass(frozen=True, slots=True)
class Piece:
    """Queries at start ... end - 1; they read keys from `key_start` up to themselves, at most `window` of them, and the
    first `sinks` keys of all, which then lie before `key_start`."""

    start: int
    end: int
    key_start: int
    window: int | None = None
    sinks: int = 0


class SoftmaxLayer(Attention):
    """Projections and attention of one layer. q, k and v lie in one matrix, so each step multiplies once."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        self.spec = cast(SoftmaxAttention, spec)
        self.layer = layer
        self.norm_eps = norm_eps
        self.qkv = torch.cat([weights["q"], weights["k"], weights["v"]])
        self.qkv_bias = torch.cat([weights[f"{x}_bias"] for x in "qkv"]) if self.spec.qkv_bias else None
        self.output = weights["o"]
        self.output_bias = weights.get("o_bias")
        self.q_norm, self.k_norm = weights.get("q_norm"), weights.get("k_norm")
        self.gate = weights.get("gate")

    @abstractmethod
    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        """How the queries at start ... end - 1 fall into pieces."""

    def forward(self, hidden: Tensor, inputs: StepInputs) -> Tensor:
        q, k, v = self._project(hidden, inputs)
        held = zip(keep(self.layer, "k", k, inputs), keep(self.layer, "v", v, inputs), strict=True)
        mixed = [
            self.attend(q[rows.rows], rows, keys, values, inputs)
            for rows, (keys, values) in zip(inputs.sequences, held, strict=True)
        ]
        out = torch.cat(mixed).flatten(1)
        if self.gate is not None:
            out = out * linear(hidden, self.gate).sigmoid()
        return linear(out, self.output, self.output_bias)

    def _project(self, hidden: Tensor, inputs: StepInputs) -> tuple[Tensor, Tensor, Tensor]:
        spec = self.spec
        heads = linear(hidden, self.qkv, self.qkv_bias)
        sizes = [spec.num_query_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim]
        q, k, v = heads.split([*sizes, spec.num_kv_heads * spec.v_head_dim], dim=-1)
        q, k = self._normalise(q, k)
        q = q.reshape(q.shape[0], spec.num_query_heads, spec.head_dim)
        k = k.reshape(k.shape[0], spec.num_kv_heads, spec.head_dim)
        if spec.rope is not None:
            q, k = rotate(torch.cat([q, k], dim=1), *inputs.rotation(spec.rope)).split(
                [spec.num_query_heads, spec.num_kv_heads], dim=1
            )
        return q, k, v.reshape(v.shape[0], spec.num_kv_heads, spec.v_head_dim)

    def _normalise(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        if self.q_norm is None or self.k_norm is None:
            return q, k
        width = self.spec.head_dim if self.spec.qk_norm is QkNorm.PER_HEAD else -1
        pairs = ((q, self.q_norm), (k, self.k_norm))
        if width == -1:
            q, k = (rms_norm(x, weight, self.norm_eps) for x, weight in pairs)
        else:
            q, k = (rms_norm(x.unflatten(-1, (-1, width)), weight, self.norm_eps).flatten(-2) for x, weight in pairs)
        return q, k

    def attend(self, q: Tensor, rows: SequenceRows, keys: Held, values: Held, inputs: StepInputs) -> Tensor:
        """The outputs [T, H, Dv] of one sequence's queries [T, H, D]."""
        outs: list[Tensor] = []
        for piece in self.pieces(rows.start, rows.end):
            for first, end in keys.cuts(piece.start, piece.end):
                cut = replace(piece, start=first, end=end)
                outs.append(self._attend_piece(q[first - rows.start : end - rows.start], cut, keys, values))
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def _attend_piece(self, q: Tensor, piece: Piece, keys: Held, values: Held) -> Tensor:
        """The last query stands at the last key. Keys before the queries need no mask: two calls and a merge."""
        scale, softcap = self.spec.softmax_scale, self.spec.softcap
        k, v = (held.between(piece.key_start, piece.end, piece.start) for held in (keys, values))
        num_queries, num_before = q.shape[0], k.shape[0] - q.shape[0]
        if piece.window is not None or num_queries == 1 or num_before == 0:
            parts = [attend(q, k, v, scale=scale, causal=True, window=piece.window, softcap=softcap)]
        else:
            before = attend(q, k[:num_before], v[:num_before], scale=scale, softcap=softcap)
            own = attend(q, k[num_before:], v[num_before:], scale=scale, causal=True, softcap=softcap)
            parts = [before, own]
        if piece.sinks:
            k, v = (held.between(0, piece.sinks, piece.start) for held in (keys, values))
            parts.append(attend(q, k, v, scale=scale, softcap=softcap))
        return merge(parts)
