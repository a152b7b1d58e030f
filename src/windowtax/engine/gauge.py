"""The gauge: what this machine can read and multiply, and what our engine reaches of it. Measured once, kept, and read
by plans and bills. With native kernels it measures their instruction sets; without, torch's sum and product."""

import contextlib
import datetime
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType

import psutil

from windowtax.base.errors import WindowtaxError
from windowtax.catalog.machine import (
    EngineRates,
    MachineRecord,
    OldRecord,
    load_machine,
    load_record,
    machine_hardware,
    save_machine,
)
from windowtax.ops.native import native_state, num_threads
from windowtax.spec.hardware import Hardware

_TORCH_READ_BYTES = 1 << 30
_WORKING_SETS = (
    *(1 << power for power in (14, 18, 20, 22, 24, 26)),
    *(count << 25 for count in (3, 4, 6, 8, 16)),
)
"""Closer together where a model's step lies and shared caches end; the last is what main memory gives."""
_ELEMENTS = ("fp32", "bf16", "int8")
_SAMPLE_S, _READ_S = 0.15, 0.05
_MATRIX_SIZE = 2048
_ROUNDS = 7
TORCH_METHOD = (
    f"best of {_ROUNDS}: the sum of a {_TORCH_READ_BYTES >> 30} GiB float32 tensor, and the product of two "
    f"{_MATRIX_SIZE} x {_MATRIX_SIZE} matrices, by torch with its default threads"
)
NATIVE_METHOD = (
    "best of short samples, some seconds apart: 512 MiB read with the widest loads, and the best instruction of each "
    "instruction set in registers alone, all threads together"
)


def this_machine(again: bool = False, say: Callable[[str], object] = lambda words: None) -> Hardware:
    """The measured machine; measures it where this version did not do that yet, or `again` is set, which takes about
    a minute: `say` is told before. Raises WindowtaxError where that fails."""
    if not again:
        with contextlib.suppress(OldRecord):
            known = load_machine()
            if known is not None:
                return known
    say("measuring this machine, once, for plans and bills: it takes about a minute ...")
    _measure_apart()
    record = load_record()
    assert record is not None
    if record.unrest:
        say(record.unrest)
    return machine_hardware(record)


def _measure_apart() -> None:
    """In a process of its own: what measuring takes of memory is nobody's bill."""
    done = subprocess.run([sys.executable, "-m", __name__], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WindowtaxError(
            f"This machine could not be measured: {reason}", "`windowtax bench floor` measures it and shows all of it."
        )


def measure() -> MachineRecord:
    """Measures read bandwidth, products and, with native kernels, the engine. The machine may be shared: the best
    counts for what it can do, the median for what the engine reaches."""
    module, threads = native_state().module, num_threads()
    began, others_s = time.perf_counter(), _others_s()
    found = _Native(module.gauge, threads) if module is not None else None
    engine = None if found is None else found.engine()
    levels = {} if found is None else _peaks_by_level(found.gauge, threads)
    return MachineRecord(
        cpu=cpu_name(),
        threads=threads,
        memory_bytes=psutil.virtual_memory().total,
        read_bytes_per_s=_torch_read() if found is None else found.best[_WORKING_SETS[-1], threads],
        peak_flops_per_s=_best_peaks(levels) or {name: _torch_flops(name) for name in ("bf16", "fp32")},
        measured_on=datetime.date.today().isoformat(),
        method=TORCH_METHOD if found is None else NATIVE_METHOD,
        read_curve=() if found is None else tuple((*key, rate) for key, rate in found.best.items()),
        peaks_by_level=levels,
        gauge={} if found is None else found.short_gauge(),
        swings={} if found is None else found.swings(),
        others_share=max(0.0, _others_s() - others_s) / (time.perf_counter() - began) / (psutil.cpu_count() or 1),
        engine=engine,
    )


def _others_s() -> float:
    """Seconds that all processors spent on anything but this process, or lost to the host's other guests."""
    all, mine = psutil.cpu_times(), psutil.Process().cpu_times()
    busy = all.user + all.system + sum(getattr(all, name, 0.0) for name in ("nice", "irq", "softirq", "steal"))
    return busy - mine.user - mine.system


class _Native:
    """How fast one reads here, by (bytes of the working set, threads), in rounds that lie far apart, between the parts
    of what the engine does, so that a neighbour's busy second decides nothing. The best is what the machine can do, the
    median what the engine's steps are held against."""

    def __init__(self, gauge: ModuleType, threads: int) -> None:
        self.gauge = gauge
        self._rates: dict[tuple[int, int], list[float]] = {}
        self._threads = threads
        self._short: list[dict[str, float]] = []

    def engine(self) -> EngineRates:
        """What our engine reaches; meanwhile all rounds."""
        from windowtax.engine.calibrate import time_steps
        from windowtax.engine.calibrate_reads import Reads

        if self._threads > 1:
            self._reads(1)
        self._round()
        timings = time_steps(native_state(), self._threads, self._round)
        self._round()
        return timings.rates(Reads(self.usual))

    @property
    def best(self) -> dict[tuple[int, int], float]:
        """B/s by working set and threads."""
        return {key: max(rates) for key, rates in sorted(self._rates.items())}

    @property
    def usual(self) -> tuple[tuple[float, float], ...]:
        """(bytes of the working set, B/s) of all threads."""
        rates = sorted(self._rates.items())
        return tuple((float(size), statistics.median(all)) for (size, n), all in rates if n == self._threads)

    def short_gauge(self) -> dict[str, float]:
        """The median of the short samples."""
        return {name: statistics.median(one[name] for one in self._short) for name in self._short[0]}

    def swings(self) -> dict[str, float]:
        """The largest of the short samples over the smallest."""
        return {
            name: max(one[name] for one in self._short) / min(one[name] for one in self._short)
            for name in self._short[0]
        }

    def _round(self) -> None:
        self._short.append(short_gauge(self._threads))
        self._reads(self._threads)

    def _reads(self, threads: int) -> None:
        for size in _WORKING_SETS:
            self._rates.setdefault((size, threads), []).append(self.gauge.read(size, threads, _READ_S))


def short_gauge(threads: int) -> dict[str, float]:
    """What the machine does in this moment, in half a second: B/s read of 256 MiB, bf16 and fp32 operations/s in
    registers. Empty without native kernels."""
    module = native_state().module
    if module is None:
        return {}
    gauge = module.gauge
    return {
        "read_bytes_per_s": gauge.read(256 << 20, threads, _SAMPLE_S),
        "bf16_flops_per_s": gauge.multiply("", "bf16", threads, _SAMPLE_S),
        "fp32_flops_per_s": gauge.multiply("", "fp32", threads, _SAMPLE_S),
    }


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


def _torch_read() -> float:
    import torch

    data = torch.ones(_TORCH_READ_BYTES // 4)
    return _TORCH_READ_BYTES / _best(data.sum)


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


def cpu_name() -> str:
    """As the system calls it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    save_machine(measure())
