"""This machine as hardware: what `windowtax bench floor` measured here, kept as machine.json in the cache folder.

Its rates are what the machine can do. Its efficiencies are what our own engine reaches of them, where that was measured
too; else they are 1, and a time computed from them is a floor for this machine.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.base.folders import cache_folder
from windowtax.base.sourced import Basis, Sourced
from windowtax.base.strict import StrictConfig
from windowtax.base.units import GB
from windowtax.spec.hardware import Hardware
from windowtax.spec.step_costs import Curve, StepCosts

THIS_MACHINE = "this-machine"
FILE_NAME = "machine.json"
VERSION = 4
"""Of the file. One of another version is measured anew: its rates mean something else."""

QUIET_SHARE, QUIET_SWING = 0.05, 1.25
"""Beyond these a measurement was disturbed: rates of the same code differ by a tenth between quiet minutes."""

USD_PER_THREAD_HOUR = 0.016
USD_PER_GB_HOUR = 0.0022
_RENT_SOURCE = (
    "not this machine's bill: 0.016 USD per thread-hour and 0.0022 USD per GB-hour, solved from Nebius L40S rows "
    "(skypilot-catalog v8/nebius/vms.csv @0082b04)"
)
_RENT_DATE = "2026-11-21"


class OldRecord(BadInput):
    """A record of another version of windowtax."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} was measured by another version of windowtax, whose rates mean something else.",
            "Run `windowtax bench floor`: it measures this machine anew, in about a minute.",
        )


@dataclass(frozen=True, kw_only=True)
class EngineRates:
    """What our own engine reaches with the kernels of `level`.

    read_curve: (bytes of the working set, B/s that plain reading would have to give), as its steps found it. Of a
    decode step, as (s that plain reading takes per byte there, s that the kernel takes), near and far:
    weight_s_per_byte by the bits of the weights ("bf16", "int4"), cache_s_per_byte by cache dtype. rows_s_per_byte:
    (rows, least s of a byte of weights), by the same bits; group_s_per_byte: (query heads per KV head, s of a byte of a
    near cache), by dtype; begin_s: of each layer where there is a context, by dtype. Where many tokens are computed at
    once: product_flops_per_s by the numbers of a layer's matrices, attention_flops_per_s by head size,
    widening_s_per_number: of those numbers, for every chunk. layer_s: of each layer, by the numbers of all query heads;
    step_overhead_s: once per step, whatever its size. The others as in `StepCosts`.
    """

    level: str
    read_curve: Curve
    weight_s_per_byte: dict[str, Curve]
    cache_s_per_byte: dict[str, Curve]
    rows_s_per_byte: dict[str, Curve]
    group_s_per_byte: dict[str, Curve]
    begin_s: dict[str, float]
    product_flops_per_s: Curve
    attention_flops_per_s: Curve
    widening_s_per_number: Curve
    layer_s: Curve
    sequence_layer_s: Curve
    step_overhead_s: float
    sequence_s: float
    scored_number_s: float
    choose_layer_s: float

    @property
    def steps(self) -> StepCosts:
        """For the planner."""
        return StepCosts(
            products=self.product_flops_per_s,
            scores=self.attention_flops_per_s,
            widening=self.widening_s_per_number,
            weights_wide=self.weight_s_per_byte["bf16"],
            weights_narrow=self.weight_s_per_byte["int4"],
            rows_wide=self.rows_s_per_byte["bf16"],
            rows_narrow=self.rows_s_per_byte["int4"],
            caches=self.cache_s_per_byte,
            cache_groups=self.group_s_per_byte,
            begin_s=self.begin_s,
            layer_s=self.layer_s,
            sequence_layer_s=self.sequence_layer_s,
            sequence_s=self.sequence_s,
            scored_number_s=self.scored_number_s,
            choose_layer_s=self.choose_layer_s,
        )


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """What was measured: read_bytes_per_s in B/s, peak_flops_per_s in FLOP/s by element type, measured_on as ISO date.

    method: how, in a sentence that a report can show. read_curve: (bytes of the working set, threads, B/s), the best.
    peaks_by_level: operations/s in registers alone by instruction-set level and element type. gauge: what the short
    samples said that were taken while the engine was measured (engine/gauge.py), as they are beside each cell of
    benchmarks/speed; swings: the largest of each over the smallest. All are empty and engine is None where there are
    no native kernels. others_share: of the processors, what others used of them meanwhile.
    """

    cpu: str
    threads: int
    memory_bytes: int
    read_bytes_per_s: float
    peak_flops_per_s: dict[str, float]
    measured_on: str
    method: str
    read_curve: tuple[tuple[int, int, float], ...] = ()
    peaks_by_level: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    gauge: dict[str, float] = field(default_factory=dict[str, float])
    swings: dict[str, float] = field(default_factory=dict[str, float])
    others_share: float = 0.0
    engine: EngineRates | None = None

    @property
    def unrest(self) -> str | None:
        """What disturbed the measurement, in words; None where it was quiet."""
        found = [f"others used {self.others_share:.0%} of the processors"] if self.others_share > QUIET_SHARE else []
        found += [
            f"{name.removesuffix('_per_s')} per second swung by a factor of {swing:.1f}"
            for name, swing in self.swings.items()
            if swing > QUIET_SWING
        ]
        if not found:
            return None
        return f"The machine was not quiet: {', '.join(found)}. `windowtax bench floor` measures again."

    @property
    def curve(self) -> tuple[tuple[float, float], ...]:
        """(bytes of the working set, B/s) with all threads, by rising bytes."""
        return tuple(sorted((size, rate) for size, threads, rate in self.read_curve if threads == self.threads))


def save_machine(record: MachineRecord, folder: Path | None = None) -> Path:
    """Writes the record; returns its path."""
    path = (folder or cache_folder()) / FILE_NAME
    path.write_text(json.dumps({"version": VERSION, **asdict(record)}, indent=2) + "\n", encoding="utf-8")
    return path


def load_record(folder: Path | None = None) -> MachineRecord | None:
    """The record kept on this machine, None where nothing was measured yet.

    Raises OldRecord where another version of windowtax measured, and BadInput on a damaged file.
    """
    path = (folder or cache_folder()) / FILE_NAME
    if not path.exists():
        return None
    hint = "Run `windowtax bench floor` again, it writes the file anew."
    try:
        config = StrictConfig(json.loads(path.read_text(encoding="utf-8")), str(path))
        if config.take("version", int, 1) != VERSION:
            raise OldRecord(path)
        rates = cast(dict[str, Any], config.take("peak_flops_per_s", dict))
        record = MachineRecord(
            cpu=config.take("cpu", str),
            threads=config.take("threads", int),
            memory_bytes=config.take("memory_bytes", int),
            read_bytes_per_s=config.take("read_bytes_per_s", float),
            peak_flops_per_s={name: float(rate) for name, rate in rates.items()},
            measured_on=config.take("measured_on", str),
            method=config.take("method", str),
            read_curve=tuple((int(size), int(n), float(rate)) for size, n, rate in _rows(config, "read_curve")),
            peaks_by_level=cast(dict[str, dict[str, float]], config.take("peaks_by_level", dict, {})),
            gauge=cast(dict[str, float], config.take("gauge", dict, {})),
            swings=cast(dict[str, float], config.take("swings", dict, {})),
            others_share=config.take("others_share", float, 0.0),
            engine=_engine(cast(dict[str, Any] | None, config.take_optional("engine", dict)), str(path)),
        )
    except OldRecord:
        raise
    except (ValueError, TypeError, BadInput) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint) from error
    if record.read_bytes_per_s <= 0 or not record.peak_flops_per_s or min(record.peak_flops_per_s.values()) <= 0:
        raise BadInput(f"{path} holds no rates above zero.", hint)
    return record


_CONSTANTS = ("step_overhead_s", "sequence_s", "scored_number_s", "choose_layer_s")
_CURVES = (
    "read_curve",
    "product_flops_per_s",
    "attention_flops_per_s",
    "widening_s_per_number",
    "layer_s",
    "sequence_layer_s",
)
_CURVES_BY_NAME = ("weight_s_per_byte", "cache_s_per_byte", "rows_s_per_byte", "group_s_per_byte")


def _rows(config: StrictConfig, key: str) -> list[Any]:
    return config.take(key, list, [])


def _engine(found: dict[str, Any] | None, source: str) -> EngineRates | None:
    if found is None:
        return None
    config = StrictConfig(found, f"{source}, engine")
    by_name = {name: cast(dict[str, list[Any]], config.take(name, dict)) for name in _CURVES_BY_NAME}
    fields: dict[str, Any] = {name: {key: _curve(rows) for key, rows in all.items()} for name, all in by_name.items()}
    fields |= {name: _curve(_rows(config, name)) for name in _CURVES}
    fields |= {name: config.take(name, float) for name in _CONSTANTS}
    fields["begin_s"] = cast(dict[str, float], config.take("begin_s", dict))
    return EngineRates(level=config.take("level", str), **fields)


def _curve(rows: list[Any]) -> Curve:
    return tuple((float(size), float(value)) for size, value in rows)


def load_machine(folder: Path | None = None) -> Hardware | None:
    """This machine as hardware, None where nothing was measured yet. Raises BadInput on a damaged file."""
    record = load_record(folder)
    return None if record is None else machine_hardware(record)


def machine_hardware(record: MachineRecord) -> Hardware:
    """A measured machine as hardware: rates and efficiencies measured, a rent that is assumed and says so."""
    date, engine = record.measured_on, record.engine

    def measured(value: float, unit: str, source: str) -> Sourced:
        return Sourced(value, unit, Basis.MEASURED, source, date)

    full = measured(1.0, "fraction", "the rate is itself a measured one, so times are floors")
    none = Sourced(0.0, "s", Basis.DERIVED, "floor: no overhead counted", date)
    reached = _Reached(record)
    rent = record.threads * USD_PER_THREAD_HOUR + record.memory_bytes / GB * USD_PER_GB_HOUR
    return Hardware(
        name=THIS_MACHINE,
        title=f"this machine ({record.cpu}, {record.threads} threads)",
        memory_bytes=measured(record.memory_bytes, "B", "operating system"),
        usable_memory=Sourced(0.9, "fraction", Basis.ASSUMED, "a tenth is left to the system", date),
        read_bytes_per_s=measured(record.read_bytes_per_s, "B/s", record.method),
        bandwidth_efficiency=full if engine is None else reached.reading(engine.weight_s_per_byte["bf16"]),
        widening_efficiency=full if engine is None else reached.reading(engine.weight_s_per_byte["int4"]),
        cache_efficiency=full if engine is None else reached.reading(engine.cache_s_per_byte["bf16"]),
        link_efficiency=full,
        peak_flops_per_s={
            name: measured(rate, "FLOP/s", record.method) for name, rate in record.peak_flops_per_s.items()
        },
        compute_efficiency={
            name: full if engine is None or name != "bf16" else reached.computing(_middle(engine.product_flops_per_s))
            for name in record.peak_flops_per_s
        },
        layer_overhead_s=none if engine is None else measured(_middle(engine.layer_s), "s", reached.source),
        expert_overhead_s=none,
        accelerators_per_node=measured(1, "accelerators", "one machine"),
        usd_per_hour=Sourced(rent, "USD/h", Basis.ASSUMED, _RENT_SOURCE, _RENT_DATE),
        step_overhead_s=None if engine is None else measured(engine.step_overhead_s, "s", reached.source),
        attention_efficiency=None if engine is None else reached.computing(_middle(engine.attention_flops_per_s)),
        cache_efficiency_by_dtype={
            name: reached.reading(curve) for name, curve in (engine.cache_s_per_byte if engine else {}).items()
        },
        read_curve=record.curve if engine is None else engine.read_curve,
        best_curve=record.curve,
        steps=None if engine is None else engine.steps,
    )


def _middle(curve: Curve) -> float:
    return curve[len(curve) // 2][1]


@dataclass(frozen=True, slots=True)
class _Reached:
    """What our engine reaches, as shares of what the machine can do."""

    record: MachineRecord

    @property
    def source(self) -> str:
        """How it was found."""
        level = "" if self.record.engine is None else self.record.engine.level
        return f"steps of models of noise in our own engine, kernels of the level {level}"

    def reading(self, curve: Curve) -> Sourced:
        """Where main memory gives the bytes."""
        _, spent_s = curve[-1]
        return self._share(1 / (spent_s * self.record.read_bytes_per_s))

    def computing(self, rate: float) -> Sourced:
        """Of the bf16 peak."""
        peaks = self.record.peak_flops_per_s
        return self._share(rate / peaks.get("bf16", peaks.get("fp32", rate)))

    def _share(self, share: float) -> Sourced:
        return Sourced(share, "fraction", Basis.MEASURED, self.source, self.record.measured_on)
