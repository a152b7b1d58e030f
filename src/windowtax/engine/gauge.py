"""The gauge: what this machine can read and multiply. Measured once, kept, and read by plans and bills."""

import datetime
import platform
import time
from collections.abc import Callable

import psutil
import torch

from windowtax.catalog.machine import MachineRecord, load_machine, save_machine
from windowtax.spec.hardware import Hardware

_READ_BYTES = 1 << 30
"""Larger than any cache the machine is likely to have a fair share of."""
_MATRIX_SIZE = 2048
_ROUNDS = 7
METHOD = (
    f"best of {_ROUNDS}: the sum of a {_READ_BYTES >> 30} GiB float32 tensor, and the product of two "
    f"{_MATRIX_SIZE} x {_MATRIX_SIZE} matrices, by torch with its default threads"
)


def this_machine(again: bool = False) -> Hardware:
    """The measured machine; measures it (some three seconds) where that was not done yet, or `again` is set."""
    known = None if again else load_machine()
    if known is not None:
        return known
    save_machine(measure())
    found = load_machine()
    assert found is not None
    return found


def measure() -> MachineRecord:
    """Measures read bandwidth and matrix throughput. The best round counts: the machine may be shared."""
    return MachineRecord(
        cpu=_cpu_name(),
        threads=torch.get_num_threads(),
        memory_bytes=psutil.virtual_memory().total,
        read_bytes_per_s=_read_bandwidth(),
        peak_flops_per_s={"bf16": _matrix_flops(torch.bfloat16), "fp32": _matrix_flops(torch.float32)},
        measured_on=datetime.date.today().isoformat(),
        method=METHOD,
    )


def _read_bandwidth() -> float:
    data = torch.ones(_READ_BYTES // 4)
    return _READ_BYTES / _best(data.sum)


def _matrix_flops(dtype: torch.dtype) -> float:
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
