"""The native kernels: whether this process has them, at which level, and why not.

They are built with the package where there is a C++ compiler, and are optional: without them torch computes the same.
The environment variable WINDOWTAX_NATIVE chooses: "off", or a level's name (`windowtax doctor` lists them).
"""

import hashlib
import importlib
import os
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType

import psutil

from windowtax.base.errors import BadInput

VARIABLE = "WINDOWTAX_NATIVE"
STALE = "the native kernels were built from other sources; `make run` builds them again"

_SOURCES = Path(__file__).parents[3] / "native"
"""Beside this file in a checkout. An installed package has none, and was built in one piece."""
_INTERFACE = ("src/bind/*.*", "src/kernels.h", "src/program/linear.h")
"""What Python relies on: functions, their arguments, and the numbers of the enumerations here."""


class WeightFormat(IntEnum):
    """How a packed matrix keeps its numbers (native/src/kernels.h)."""

    F32 = 0
    BF16 = 1
    Q8 = 2
    Q4 = 3
    Q5 = 4
    Q5_LEAST = 5


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
    """What this process uses. Raises BadInput where WINDOWTAX_NATIVE names a level that does not run here, or that was
    built from other sources than those beside this file; where it names none, torch computes then."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "off":
        return NativeState(None, "", f"switched off by {VARIABLE}=off")
    try:
        module = importlib.import_module("windowtax._native")
    except ImportError as error:
        return NativeState(None, "", f"not built ({error}); install a C++ compiler and windowtax again")
    if _is_stale(module):
        if wanted:
            raise BadInput(f"{VARIABLE}={wanted!r} cannot be used: {STALE}.")
        return NativeState(None, "", STALE)
    running = [level.name for level in module.levels() if level.runs]
    if wanted and wanted not in running:
        hint = f"Set it to off, {', '.join(running)}, or unset it."
        raise BadInput(f"{VARIABLE}={wanted!r} does not run here.", hint)
    return NativeState(module, wanted or running[-1], "")


def interface_of(sources: Path) -> str:
    """The name of the interface that these native sources have, as native/CMakeLists.txt makes it when it builds."""
    files = sorted({file for pattern in _INTERFACE for file in sources.glob(pattern)})
    lines = (
        f"{file.relative_to(sources).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files
    )
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _is_stale(module: ModuleType) -> bool:
    if not (_SOURCES / "CMakeLists.txt").is_file():
        return False
    return getattr(module, "interface", "") != interface_of(_SOURCES)


def num_threads() -> int:
    """Threads that compute: as OMP_NUM_THREADS says, else one for each core that this process may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))
