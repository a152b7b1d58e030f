"""Gated DeltaNet: a short convolution over queries, keys and values, then the gated delta rule.

Decays, the rule and the norm behind it are computed in float32, as in transformers (models/qwen3_5).
"""

from collections.abc import Mapping
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
        mixed = torch.cat(
            [self._mix(qkv[r.rows], log_decay[r.rows], beta[r.rows], self.state(r, inputs)) for r in inputs.sequences]
        )
        gates = functional.silu(z.float()).unflatten(-1, mixed.shape[1:])
        mixed = rms_norm(mixed, self.out_norm, self.norm_eps) * gates
        return linear(mixed.flatten(1).to(hidden.dtype), self.output)

    def _mix(self, qkv: Tensor, log_decay: Tensor, beta: Tensor, state: State) -> Tensor:
        """One sequence's tokens: qkv [T, C], log_decay and beta [T, H] -> [T, H, E]; its state moves on."""
        spec = self.spec
        width = spec.num_key_heads * spec.key_head_dim
        q, k, v = functional.silu(self.convolve(qkv, state)).split([width, width, qkv.shape[1] - 2 * width], dim=-1)
        q, k = (_normed(x.unflatten(-1, (spec.num_key_heads, -1))) for x in (q, k))
        # Each head of keys serves several heads of values.
        share = spec.num_value_heads // spec.num_key_heads
        q, k = ((x * scale).repeat_interleave(share, dim=1) for x, scale in ((q, spec.key_head_dim**-0.5), (k, 1.0)))
        heads = (x.transpose(0, 1) for x in (q, k, v.unflatten(-1, (spec.num_value_heads, -1)), log_decay, beta))
        out, after = gated_delta(Tokens._make(heads), state.read("state").float())
        state.write("state", after)
        return out.transpose(0, 1)


def _normed(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + _EPS).rsqrt()
