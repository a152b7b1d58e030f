"""The gauge: what this machine can read and multiply, and what our engine reaches of it. Measured once, kept, and read
by plans and bills. With native kernels it measures their instruction sets; without, torch's sum and product."""

import datetime
import platform
import time
from collections.abc import Callable
from types import ModuleType

import psutil

from windowtax.catalog.machine import MachineRecord, load_machine, save_machine
from windowtax.ops.native import native_state, num_threads
from windowtax.spec.hardware import Hardware

_READ_BYTES = 1 << 30
"""Larger than any cache the machine is likely to have a fair share of."""
_WORKING_SETS = (
    *(1 << power for power in (14, 18, 20, 22, 24, 26)),
    *(count << 25 for count in (3, 4, 6, 8, 12, 16, 32)),
)
"""Closer together where a model's step lies and shared caches end."""
_ELEMENTS = ("fp32", "bf16", "int8")
_SAMPLE_S = 0.15
_MATRIX_SIZE = 2048
_ROUNDS = 7
TORCH_METHOD = (
    f"best of {_ROUNDS}: the sum of a {_READ_BYTES >> 30} GiB float32 tensor, and the product of two "
    f"{_MATRIX_SIZE} x {_MATRIX_SIZE} matrices, by torch with its default threads"
)
NATIVE_METHOD = (
    f"best of the samples of {_SAMPLE_S} s: 1 GiB read with the widest loads, and the best instruction of each "
    "instruction set in registers alone, all threads together"
)


def this_machine(again: bool = False) -> Hardware:
    """The measured machine; measures it (some twenty seconds) where that was not done yet, or `again` is set."""
    known = None if again else load_machine()
    if known is not None:
        return known
    save_machine(measure())
    found = load_machine()
    assert found is not None
    return found


def measure() -> MachineRecord:
    """Measures read bandwidth, products and, with native kernels, the engine. The machine may be shared: the best
    counts for what it can do, the lower quartile of times for what the engine reaches."""
    from windowtax.engine.calibrate import Reads, calibrate

    state, threads = native_state(), num_threads()
    gauge = None if state.module is None else state.module.gauge
    levels = {} if gauge is None else _peaks_by_level(gauge, threads)
    read = _torch_read() if gauge is None else gauge.read(_READ_BYTES, threads, 1.0)
    curve = () if gauge is None else tuple(_read_curve(gauge, threads))
    return MachineRecord(
        cpu=_cpu_name(),
        threads=threads,
        memory_bytes=psutil.virtual_memory().total,
        read_bytes_per_s=read,
        peak_flops_per_s=_best_peaks(levels) or {name: _torch_flops(name) for name in ("bf16", "fp32")},
        measured_on=datetime.date.today().isoformat(),
        method=TORCH_METHOD if gauge is None else NATIVE_METHOD,
        read_curve=curve,
        peaks_by_level=levels,
        engine=None
        if state.module is None
        else calibrate(state, Reads(read, _of_all_threads(curve, threads), threads)),
    )


def _peaks_by_level(gauge: ModuleType, threads: int) -> dict[str, dict[str, float]]:
    """Operations/s by level and element; instructions that a level lacks are left out."""
    module = native_state().module
    assert module is not None
    found: dict[str, dict[str, float]] = {}
    for level in module.levels():
        if level.runs:
            rates = {name: gauge.multiply(level.name, name, threads, _SAMPLE_S) for name in _ELEMENTS}
            found[level.name] = {name: rate for name, rate in rates.items() if rate}
    return found


def _best_peaks(levels: dict[str, dict[str, float]]) -> dict[str, float]:
    """The best of all levels; where bf16 has no faster instruction it is widened to fp32."""
    found = {
        name: max(rates) for name in ("bf16", "fp32") if (rates := [r[name] for r in levels.values() if name in r])
    }
    if found:
        found["bf16"] = max(found.values())
    return found


def _read_curve(gauge: ModuleType, threads: int) -> list[tuple[int, int, float]]:
    counts = sorted({1, threads})
    return [(size, count, gauge.read(size, count, _SAMPLE_S)) for count in counts for size in _WORKING_SETS]


def _of_all_threads(curve: tuple[tuple[int, int, float], ...], threads: int) -> tuple[tuple[float, float], ...]:
    return tuple((size, rate) for size, count, rate in curve if count == threads)


def _torch_read() -> float:
    import torch

    data = torch.ones(_READ_BYTES // 4)
    return _READ_BYTES / _best(data.sum)


def _torch_flops(name: str) -> float:
    import torch

    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[name]
    a, b = (torch.randn(_MATRIX_SIZE, _MATRIX_SIZE, dtype=dtype) for _ in range(2))
    return 2 * _MATRIX_SIZE**3 / _best(lambda: a @ b)


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest round, after one to warm up."""
    work()
    seconds: list[float] = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
