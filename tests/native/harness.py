"""Models on the native kernels, for tests; skipped where these were not built."""

from pathlib import Path

import pytest
import torch

from windowtax.engine.backend import Backend
from windowtax.engine.candidates import likeliest
from windowtax.engine.engine import Engine
from windowtax.engine.load import LoadedModel, open_files
from windowtax.nn.recorded.attention import BLOCK_SIZE
from windowtax.nn.recorded.decoder import why_not_native
from windowtax.ops.native import NativeState, native_state
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.model import ModelSpec

native = pytest.mark.skipif(native_state().module is None, reason=f"native kernels: {native_state().why_not}")


def levels() -> list[str]:
    """The levels that run on this machine."""
    module = native_state().module
    return [] if module is None else [level.name for level in module.levels() if level.runs]


def load_native(
    folder: Path, *, dtype: str = "fp32", weights: str = "full", level: str = "", attention: str | None = None
) -> LoadedModel:
    """A model with packed weights, computed by two threads."""
    state = native_state()
    chosen = NativeState(state.module, level or state.level, "")
    files = open_files(folder, dtype=dtype, attention=attention)
    if not computes(files.spec):
        pytest.skip("torch alone computes this family")
    return files.load(Backend(chosen, "", weights, 2))


def computes(spec: ModelSpec) -> bool:
    """Whether the native kernels compute this family."""
    return why_not_native(spec, spec.layout(cache_dtype("fp32")), native_state()) is None


def watch_logits(engine: Engine) -> list[torch.Tensor]:
    """The list that every further step's logits [rows, vocab_size] are added to. Tokens are chosen from these then."""
    seen: list[torch.Tensor] = []
    compute = engine.runner.run

    def run(step):
        logits = compute(step)
        seen.extend(torch.from_numpy(logits).clone())
        return logits

    engine.runner.run = run
    engine.runner.choose = lambda step: likeliest(run(step))
    return seen


__all__ = ["BLOCK_SIZE", "computes", "levels", "load_native", "native", "watch_logits"]
