"""Law 4 for the gated delta rule: runs of tokens equal token by token, as transformers computes it."""

import pytest
import torch
from transformers.models.qwen3_5.modeling_qwen3_5 import torch_recurrent_gated_delta_rule

from windowtax.ops.causal_conv import causal_conv
from windowtax.ops.delta_rule import RUN_TOKENS, Tokens, gated_delta

HEADS, KEY_DIM, VALUE_DIM = 3, 8, 12
TOLERANCE = 2e-5


def drawn(num_tokens: int, fading: float) -> tuple[Tokens, torch.Tensor]:
    """Queries, keys of length 1, values, decays and betas, and the state that lies before them."""
    made = torch.Generator().manual_seed(num_tokens)
    q, k = (torch.randn(HEADS, num_tokens, KEY_DIM, generator=made) for _ in range(2))
    v = torch.randn(HEADS, num_tokens, VALUE_DIM, generator=made)
    log_decay = -fading * torch.rand(HEADS, num_tokens, generator=made)
    beta = torch.rand(HEADS, num_tokens, generator=made)
    state = torch.randn(HEADS, KEY_DIM, VALUE_DIM, generator=made)
    return Tokens(q, torch.nn.functional.normalize(k, dim=-1), v, log_decay, beta), state


@pytest.mark.parametrize("fading", [0.01, 1.0, 40.0])
@pytest.mark.parametrize("num_tokens", [1, 2, RUN_TOKENS - 1, RUN_TOKENS, RUN_TOKENS + 1, 3 * RUN_TOKENS + 7])
def test_runs_equal_transformers_token_by_token(num_tokens: int, fading: float) -> None:
    tokens, state = drawn(num_tokens, fading)
    out, after = gated_delta(tokens, state)
    rows = [x.transpose(0, 1)[None] for x in (tokens.q * KEY_DIM**0.5, *tokens[1:])]  # it scales q itself
    wanted, wanted_after = torch_recurrent_gated_delta_rule(*rows, initial_state=state[None], output_final_state=True)
    assert (out.transpose(0, 1) - wanted[0]).abs().max() <= TOLERANCE * wanted.abs().max()
    assert (after - wanted_after[0]).abs().max() <= TOLERANCE * wanted_after.abs().max()


@pytest.mark.parametrize("cut", [1, 5, RUN_TOKENS, 100])
def test_a_state_goes_on_wherever_a_chunk_ended(cut: int) -> None:
    tokens, state = drawn(150, 0.5)
    whole, after = gated_delta(tokens, state)
    first, between = gated_delta(Tokens._make(x[:, :cut] for x in tokens), state)
    second, again = gated_delta(Tokens._make(x[:, cut:] for x in tokens), between)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-4)
    assert torch.allclose(again, after, atol=1e-4)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_the_convolution_equals_torch(width: int) -> None:
    made = torch.Generator().manual_seed(width)
    x, before = torch.randn(11, 6, generator=made), torch.randn(width - 1, 6, generator=made)
    kernel = torch.randn(6, width, generator=made)
    wanted = torch.nn.functional.conv1d(torch.cat([before, x]).T[None], kernel[:, None], groups=6)[0].T
    assert torch.allclose(causal_conv(x, before, kernel), wanted, atol=1e-5)
