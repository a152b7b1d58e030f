"""Gated DeltaNet: a short convolution over queries, keys and values, then the gated delta rule.

Decays, the rule and the norm behind it are computed in float32, as in transformers (models/qwen3_5).
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.attention.recurrent import RecurrentLayer, State
from windowtax.nn.inputs import StepInputs
from windowtax.ops.delta_rule import Tokens, gated_delta
from windowtax.ops.elementwise import rms_norm
from windowtax.ops.linear import linear
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.gated_delta import GatedDelta

_EPS = 1e-6
"""Of the L2 norm of queries and keys, whatever the model's norms have (transformers, `l2norm`)."""


@ATTENTION.register("gated_delta")
class GatedDeltaLayer(RecurrentLayer):
    """Computes spec.attention.gated_delta. All projections lie in one matrix, so each step multiplies once."""

    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None:
        super().__init__(spec, layer, weights, norm_eps)
        self.spec = cast(GatedDelta, spec)
        parts = [weights[name] for name in ("qkv", "z", "beta", "decay")]
        self.sizes = [part.shape[0] for part in parts]
        self.projections = torch.cat(parts)
        self.rate, self.bias = weights["a_log"].float().exp(), weights["dt_bias"].float()
        self.out_norm, self.output = weights["out_norm"].float(), weights["o"]

    def forward(self, hidden: Tensor, inputs: StepInputs) -> Tensor:
        qkv, z, beta, decay = linear(hidden, self.projections).split(self.sizes, dim=-1)
        beta = beta.float().sigmoid()
        log_decay = -self.rate * functional.softplus(decay.float() + self.bias)
        mixed = self.fold([qkv, log_decay, beta], inputs)
        gates = functional.silu(z.float()).unflatten(-1, mixed.shape[1:])
        mixed = rms_norm(mixed, self.out_norm, self.norm_eps) * gates
        return linear(mixed.flatten(1).to(hidden.dtype), self.output)

    def mix(self, tokens: Sequence[Tensor], state: State) -> Tensor:
        """qkv [T, C], log_decay and beta [T, H] -> [T, H, E]."""
        spec, (qkv, log_decay, beta) = self.spec, tokens
        widths = [spec.num_key_heads * spec.key_head_dim] * 2 + [spec.num_value_heads * spec.value_head_dim]
        q, k, v = functional.silu(self.convolve(qkv, state)).split(widths, dim=-1)
        q, k = self._heads(q) * spec.key_head_dim**-0.5, self._heads(k)
        parts = (q, k, v.unflatten(-1, (spec.num_value_heads, -1)), log_decay, beta)
        out, after = gated_delta(Tokens._make(part.transpose(0, 1) for part in parts), state.read("state").float())
        state.write("state", after)
        return out.transpose(0, 1)

    def _heads(self, x: Tensor) -> Tensor:
        """Queries or keys, each head's of length 1, for each head of values: one serves several of these."""
        heads = x.unflatten(-1, (self.spec.num_key_heads, -1))
        heads = heads * (heads.square().sum(-1, keepdim=True) + _EPS).rsqrt()
        return heads.repeat_interleave(self.spec.num_value_heads // self.spec.num_key_heads, dim=1)
