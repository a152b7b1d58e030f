"""Who computes: the native kernels where they can, torch otherwise; and in which bits the weights are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.nn.recorded.decoder import ChooseFormat, why_not_native
from windowtax.ops.native import NativeState, WeightFormat, native_state, num_threads
from windowtax.spec.cache import CacheLayout
from windowtax.spec.model import ModelSpec

WEIGHTS = ("stored", "full", "int8", "int4")
"""What --weights may say. stored: as the file has them, where the kernels read that; full: in the dtype that is
computed
with; int8, int4: in groups of 32 (int4 keeps embedding and head in int8, which loses far less: docs/quality.md)."""

_WIDE_IN_INT4 = ("embedding", "head")


@dataclass(frozen=True, slots=True)
class Backend:
    """native: None for torch, and `why_not` says why. weights: one of WEIGHTS; torch keeps them in full."""

    native: NativeState | None
    why_not: str
    weights: str = "full"
    num_threads: int = 1

    @property
    def name(self) -> str:
        """For people: what computes."""
        return "torch" if self.native is None else f"native ({self.native.level})"

    @property
    def weights_text(self) -> str:
        """For people: in what bits the weights are kept."""
        return {"stored": "as the file has them", "full": "in full"}.get(self.weights, f"in {self.weights}")


TORCH = Backend(None, "not asked for")


def choose_backend(
    spec: ModelSpec, layout: CacheLayout, *, dtype: str, device: str, weights: str = "stored"
) -> Backend:
    """Native kernels for CPUs, where they compute this model with this cache. Raises BadInput for unknown weights, and
    for quantised ones where only torch can run."""
    if weights not in WEIGHTS:
        raise BadInput(f"There are no weights called {weights!r}.", f"Use {', '.join(WEIGHTS)}.")
    reason = _why_not(spec, layout, dtype, device)
    if reason is None:
        return Backend(native_state(), "", weights, num_threads())
    if weights in ("int8", "int4"):
        raise BadInput(f"Weights in {weights} need the native kernels, which are not used here: {reason}.")
    return Backend(None, reason)


def weight_format(weights: str, dtype: str) -> ChooseFormat:
    """Which format a matrix gets, by --weights and the dtype that is computed with."""
    full = WeightFormat.F32 if dtype == "fp32" else WeightFormat.BF16

    def choose(name: str, stored: Sequence[WeightFormat | None]) -> WeightFormat:
        if weights == "int8":
            return WeightFormat.Q8
        if weights == "int4":
            return WeightFormat.Q8 if name in _WIDE_IN_INT4 else WeightFormat.Q4
        if weights == "full" or None in stored:
            return full
        # Matrices that are read as one but are kept differently take codes that say nearly the same of all.
        first = stored[0]
        return first if first is not None and set(stored) == {first} else WeightFormat.Q8

    return choose


def _why_not(spec: ModelSpec, layout: CacheLayout, dtype: str, device: str) -> str | None:
    if device != "cpu":
        return f"the device is {device}"
    if dtype == "fp16":
        return "native code computes in bf16 and fp32"
    return why_not_native(spec, layout, native_state())


def native_report() -> dict[str, Any]:
    """What was built of the native kernels, what runs here, what is used, and why not more; as data for people."""
    state = native_state()
    if state.module is None:
        verdict = f"Native kernels are not used: {state.why_not}. torch computes."
        return {"levels": [], "in_use": None, "verdict": verdict}
    levels = [
        {"name": level.name, "built": level.built, "runs": level.runs, "why_not": level.why_not}
        for level in state.module.levels()
    ]
    verdict = f"Native kernels are used at the level {state.level}, on CPUs and for models of the kinds that they know."
    return {"levels": levels, "in_use": state.level, "verdict": verdict}
