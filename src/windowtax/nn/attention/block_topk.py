"""Quest: every query, in prefill too, reads its own block and those of the blocks before it that promise most.

A block's summary is made when its last token is written, from its keys as they are kept; the block of the query needs
none. So what a query reads depends on its position and the text alone: not on chunks, and not on rejected drafts.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor

from windowtax.base.errors import UnsupportedModel
from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.held import Held
from windowtax.nn.attention.softmax import Piece, SoftmaxLayer
from windowtax.nn.inputs import SequenceRows, StepInputs
from windowtax.ops.selected import attend_selected, best_blocks, bf16_down, bf16_up, bounds
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.block_topk import MIN_MAX, BlockTopKAttention

QUERY_TILE = 64
"""Queries whose scores are made at once."""


@ATTENTION.register("block_topk")
class BlockTopKLayer(SoftmaxLayer):
    """Computes spec.attention.block_topk where blocks are summed up by minimum and maximum."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        super().__init__(spec, layer, weights, norm_eps)
        self.blocks = cast(BlockTopKAttention, spec)
        if self.blocks.summary != MIN_MAX:
            raise UnsupportedModel(
                f"Blocks are chosen by minimum and maximum here, not by {'/'.join(self.blocks.summary)}.",
                "Leave the summary out of the lever; plans know both.",
            )

    def pieces(self, start: int, end: int) -> Iterator[Piece]:
        for first in range(start, end, QUERY_TILE):
            yield Piece(first, min(first + QUERY_TILE, end), 0)

    def attend(self, q: Tensor, rows: SequenceRows, keys: Held, values: Held, inputs: StepInputs) -> Tensor:
        least, most = self._summaries(rows, keys, inputs)
        outs: list[Tensor] = []
        for piece in self.pieces(rows.start, rows.end):
            for first, end in keys.cuts(piece.start, piece.end):
                queries = q[first - rows.start : end - rows.start]
                own = torch.arange(first, end, device=q.device) // self.blocks.block_tokens
                count = int(own[-1]) + 1  # the last of these, a begun block, has no summary and needs none
                scores = torch.zeros(end - first, self.spec.num_kv_heads, count, device=q.device)
                scores[..., : count - 1] = bounds(queries, least[: count - 1], most[: count - 1])
                chosen = best_blocks(scores, own, self.blocks.top_k_blocks)
                k, v = (held.between(0, end, first) for held in (keys, values))
                outs.append(self._attend_chosen(queries, k, v, chosen, first))
        return torch.cat(outs)

    def _attend_chosen(self, q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, start: int) -> Tensor:
        """chosen [T, K, B]: the blocks that each query from `start` on reads. k, v: all positions up to the last."""
        size, num_heads = self.blocks.block_tokens, k.shape[1]
        tokens = torch.arange(k.shape[0], device=k.device)
        if q.shape[0] == 1:
            # One query reads its blocks alone; every KV head has chosen as many.
            blocks = chosen[0].nonzero()[:, 1].view(num_heads, -1, 1)
            picked = (blocks * size + tokens.new_tensor(range(size))).flatten(1)
            missing = chosen.shape[-1] * size - k.shape[0]  # of its own block, which comes last
            tokens = picked[:, : picked.shape[1] - missing].T
            heads = torch.arange(num_heads, device=k.device)
            k, v = k[tokens, heads], v[tokens, heads]
            mask = torch.ones(1, num_heads, k.shape[0], dtype=torch.bool, device=k.device)
        else:
            positions = torch.arange(start, start + q.shape[0], device=k.device)
            mask = chosen.repeat_interleave(size, dim=-1)[..., : k.shape[0]]
            mask = mask & (tokens[None, :] <= positions[:, None])[:, None]
        return attend_selected(q, k, v, mask, scale=self.spec.softmax_scale, softcap=self.spec.softcap)

    def _summaries(self, rows: SequenceRows, keys: Held, inputs: StepInputs) -> tuple[Tensor, Tensor]:
        """Minimum and maximum [B, K, D] of all full blocks, after those that this step fills were summed up."""
        (part,) = inputs.store.parts(self.layer, "block_min")
        least, most = part.vectors["block_min"], part.vectors["block_max"]
        size, extent = self.blocks.block_tokens, rows.extents[part.group]
        first, end = rows.start // size, rows.end // size
        if first < end:
            filled = keys.between(first * size, end * size, end * size).unflatten(0, (-1, size))
            slots = extent.slots(first, end)
            least.write(slots, bf16_down(filled.amin(1)))
            most.write(slots, bf16_up(filled.amax(1)))
        full = extent.part(0, end)
        return least.read(full), most.read(full)
