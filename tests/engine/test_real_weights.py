"""Real checkpoints: transformers reads the same GGUF file by its own code, and the logits are equal."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.engine.harness import greedy, make_engine
from windowtax.engine.load import load_model
from windowtax.hub import fetch
from windowtax.schedule.sequence import Sequence
from windowtax.texts.builtin import python_language_reference

PROMPT, OUTPUT = 180, 20
TOLERANCE = 1e-4


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_logits_equal_transformers(name: str) -> None:
    path = fetch.pull(name)
    theirs = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ours = load_model(path, dtype="fp32")
    assert ours.tokenizer is not None
    prompt = ours.tokenizer.encode(python_language_reference())[:PROMPT]
    engine = make_engine(ours, PROMPT + OUTPUT, step_tokens=64, cache_dtype="fp32", block_size=16)
    sequence = Sequence("s", list(prompt), OUTPUT)
    engine.scheduler.add(sequence)
    rows: list[torch.Tensor] = []
    while sequence.num_computed_tokens < PROMPT + OUTPUT:
        step = engine.scheduler.schedule()
        logits = ours.decoder.forward(replace(engine.runner.inputs(step), sampled_rows=torch.arange(step.num_tokens)))
        rows.append(logits)
        engine.scheduler.commit(step)
        if sequence.num_computed_tokens == len(sequence.token_ids) < PROMPT + OUTPUT:
            sequence.token_ids.append(int(logits[-1].argmax()))
    with torch.no_grad():
        expected = theirs(torch.tensor([sequence.token_ids])).logits[0]
    got = torch.cat(rows)
    error = (got - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE, f"relative error {error:.2e}"


@pytest.mark.real
def test_windows_give_blocks_back() -> None:
    """Gemma 3 behind 2,000 tokens: 15 of 18 layers hold one window and a chunk, not the context."""
    model = load_model(fetch.pull("gemma-3-270m"))
    engine = make_engine(model, 2064, step_tokens=128, cache_dtype="bf16", block_size=32)
    request = engine.add([2] + [100] * 2047, greedy(8))
    while engine.has_work:
        engine.step()
    full, sliding = sorted(engine.cache.layout.groups, key=lambda group: len(group.layers))
    everything = (full.token_bytes + sliding.token_bytes) * 2048
    # 3 layers keep all 2,048 tokens; 15 keep 512 + 128 and at most two half-used blocks.
    assert request.meter.peak_bytes <= full.token_bytes * 2080 + sliding.token_bytes * (512 + 128 + 64)
    assert request.meter.peak_bytes < 0.5 * everything
