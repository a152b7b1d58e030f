"""Quantised GGUF files on native kernels, beside torch on the same file."""

from pathlib import Path

import gguf
import pytest
import torch

from tests.engine.harness import greedy, make_engine, run_all
from tests.engine.test_without_torch import PROMPT, small_model
from tests.native.harness import BLOCK_SIZE, native, watch_logits
from windowtax.engine.load import LoadedModel, open_files


@native
@pytest.mark.parametrize("kind", ["Q4_1", "Q5_0", "Q5_1", "Q8_0"])
@pytest.mark.parametrize(
    "others", [{}, {"attn_v": "Q8_0", "ffn_gate": "Q5_0"}, {"attn_k": "Q5_1", "token_embd": "Q5_0"}]
)
def test_codes_give_what_torch_computes_of_the_same_file(tmp_path: Path, kind: str, others: dict[str, str]) -> None:
    """Files whose matrices are of several types, as Q4_K_M's are: torch says what comes out, the plan its size."""
    path = small_model(tmp_path / "small.gguf", gguf.GGMLQuantizationType[kind], others)
    files = open_files(path, dtype="fp32")
    backend = files.backend("fp32", "stored")
    native_model, torch_model = files.load(backend), files.load()
    assert native_model.weight_bytes == files.weight_bytes(backend) < torch_model.weight_bytes

    def logits(model: LoadedModel, step_tokens: int) -> torch.Tensor:
        engine = make_engine(model, len(PROMPT) + 2, block_size=BLOCK_SIZE, step_tokens=step_tokens)
        seen = watch_logits(engine)
        run_all(engine, [PROMPT], greedy(1))
        return seen[-1]

    theirs = logits(torch_model, 256)
    for step_tokens in (1, 3, 12, 256):
        # Activations in 8 bits (or bf16) cost 2 to 4% here; codes read wrongly make numbers of another kind.
        ours = logits(native_model, step_tokens)
        assert (ours - theirs).norm() / theirs.norm() < 0.08, step_tokens
