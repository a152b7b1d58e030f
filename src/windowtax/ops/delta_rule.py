"""The gated delta rule (Yang et al. 2024, "Gated Delta Networks", arXiv 2412.06464, equation 10 and section 3.3).

A state S [D, E] maps keys to values. Each token lets it fade, looks up what it holds for the token's key, and corrects
that towards the token's value:

    S = exp(g) S;  u = beta (v - S^T k);  S = S + k u^T;  out = S^T q

Decodes do it so; prompts take 64 tokens at once: the corrections u of a run of tokens solve one triangular system,
because each depends on the earlier ones only. All of it in float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor

RUN_TOKENS = 64
"""Tokens whose corrections are solved for at once: work inside a run grows with its square, passes over the state fall
with its length."""


class Tokens(NamedTuple):
    """q, k [H, T, D], v [H, T, E], log_decay and beta [H, T]. q comes scaled, q and k normalised where the model does
    so."""

    q: Tensor
    k: Tensor
    v: Tensor
    log_decay: Tensor
    beta: Tensor


def gated_delta(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """The state [H, D, E] before the tokens -> what they read [H, T, E], and the state behind them."""
    if tokens.q.shape[1] == 1:
        return _step(tokens, state)
    outs: list[Tensor] = []
    for run in zip(*(x.split(RUN_TOKENS, dim=1) for x in tokens), strict=True):
        out, state = _run(Tokens._make(run), state)
        outs.append(out)
    return torch.cat(outs, dim=1), state


def _step(token: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token, as above."""
    state = state * token.log_decay.exp()[..., None]
    u = token.beta[..., None] * (token.v - token.k @ state)
    state.addcmul_(token.k.mT, u)
    return token.q @ state, state


def _run(tokens: Tokens, state: Tensor) -> tuple[Tensor, Tensor]:
    """With G the sums of g: u_t = beta_t (v_t - e^G_t S^T k_t - sum over j < t of e^(G_t - G_j) (k_j k_t) u_j)."""
    q, k, v, log_decay, beta = tokens
    sums = log_decay.cumsum(-1)
    fading = (sums[:, :, None] - sums[:, None]).exp().tril()
    carried, left = sums.exp()[..., None], (sums[:, -1:] - sums).exp()[..., None]
    wanted = beta[..., None] * (v - carried * (k @ state))
    # Its diagonal and what is above it are not read.
    system = beta[..., None] * fading * (k @ k.mT)
    u = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    out = carried * (q @ state) + (fading * (q @ k.mT)) @ u
    return out, carried[:, -1:] * state + (k * left).mT @ u
