"""The native kernels: whether this process has them, at which level, and why not.

They are built with the package where there is a C++ compiler, and are optional: without them torch computes the same.
The environment variable WINDOWTAX_NATIVE chooses: "off", or a level's name (`windowtax doctor` lists them).
"""

import importlib
import os
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import ModuleType

import psutil

from windowtax.base.errors import BadInput

VARIABLE = "WINDOWTAX_NATIVE"


class WeightFormat(IntEnum):
    """How a packed matrix keeps its numbers (native/src/kernels.h)."""

    F32 = 0
    BF16 = 1
    Q8 = 2
    Q4 = 3


class Element(IntEnum):
    """What one stored number of a key or value plane is (native/src/kernels.h)."""

    F32 = 0
    F16 = 1
    BF16 = 2
    F8 = 3
    I8 = 4
    I4 = 5
    I4_CHANNEL = 6


class Ending(IntEnum):
    """What becomes of a product (native/src/program/linear.h)."""

    STORE = 0
    ADD = 1
    GATED_SILU = 2
    GATED_GELU = 3


@dataclass(frozen=True, slots=True)
class NativeState:
    """module: None where native kernels are not used, with the reason in `why_not`. level: the one in use."""

    module: ModuleType | None
    level: str
    why_not: str


@cache
def native_state() -> NativeState:
    """What this process uses. Raises BadInput where WINDOWTAX_NATIVE names a level that does not run here."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "off":
        return NativeState(None, "", f"switched off by {VARIABLE}=off")
    try:
        module = importlib.import_module("windowtax._native")
    except ImportError as error:
        return NativeState(None, "", f"not built ({error}); install a C++ compiler and windowtax again")
    running = [level.name for level in module.levels() if level.runs]
    if wanted and wanted not in running:
        hint = f"Set it to off, {', '.join(running)}, or unset it."
        raise BadInput(f"{VARIABLE}={wanted!r} does not run here.", hint)
    return NativeState(module, wanted or running[-1], "")


def num_threads() -> int:
    """Threads that compute: as OMP_NUM_THREADS says, else one for each core that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))
