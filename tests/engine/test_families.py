"""Equal logits with transformers, over the prompt and 20 decoded tokens, for every family that runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.cases.families import FAMILIES, save_tiny
from tests.engine.harness import make_engine
from windowtax.engine.load import load_model
from windowtax.schedule.sequence import Sequence

PROMPT = 40
OUTPUT = 20
TOLERANCE = 1e-4
"""Relative to the largest logit: the issue's bound for float32, far above what summing in another order costs."""


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    theirs = save_tiny(name, tmp_path)
    generator = torch.Generator().manual_seed(7)
    tokens = torch.randint(3, 160, (PROMPT + OUTPUT,), generator=generator)
    with torch.no_grad():
        expected = theirs(tokens[None]).logits[0]
    ours = load_model(tmp_path, dtype="fp32")
    assert sum(p.numel() for p in theirs.parameters()) == ours.spec.total_parameters
    for step_tokens in (16, 64):
        logits = teacher_forced_logits(ours, tokens.tolist(), step_tokens)
        error = (logits - expected).abs().max() / expected.abs().max()
        assert error <= TOLERANCE, f"relative error {error:.2e} with steps of {step_tokens}"


def teacher_forced_logits(model, tokens: list[int], step_tokens: int) -> torch.Tensor:
    """Logits at every position: the prompt in chunks, then token by token, all through the paged cache."""
    engine = make_engine(model, len(tokens), step_tokens=step_tokens, cache_dtype="fp32", block_size=4)
    sequence = Sequence("s", tokens[:PROMPT], OUTPUT)
    engine.scheduler.add(sequence)
    rows: list[torch.Tensor] = []
    while sequence.num_computed_tokens < len(tokens):
        step = engine.scheduler.schedule()
        inputs = engine.runner.inputs(step)
        rows.append(model.decoder.forward(replace(inputs, sampled_rows=torch.arange(step.num_tokens))))
        engine.scheduler.commit(step)
        if sequence.num_computed_tokens == len(sequence.token_ids) < len(tokens):
            sequence.token_ids.append(tokens[len(sequence.token_ids)])
    return torch.cat(rows)
