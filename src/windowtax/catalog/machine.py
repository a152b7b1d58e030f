"""This machine as hardware: what `windowtax bench floor` measured here, kept as machine.json in the cache folder.

Its rates are measured ones, so its efficiencies are 1: a time computed from them is a floor for this machine.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from windowtax.base.errors import BadInput
from windowtax.base.folders import cache_folder
from windowtax.base.sourced import Basis, Sourced
from windowtax.base.strict import StrictConfig
from windowtax.base.units import GB
from windowtax.spec.hardware import Hardware

THIS_MACHINE = "this-machine"
FILE_NAME = "machine.json"

USD_PER_THREAD_HOUR = 0.016
USD_PER_GB_HOUR = 0.0022
_RENT_SOURCE = (
    "not this machine's bill: 0.016 USD per thread-hour and 0.0022 USD per GB-hour, solved from Nebius L40S rows "
    "(skypilot-catalog v8/nebius/vms.csv @0082b04)"
)
_RENT_DATE = "2026-11-21"


@dataclass(frozen=True, kw_only=True)
class MachineRecord:
    """What was measured: read_bytes_per_s in B/s, peak_flops_per_s in FLOP/s by element type, measured_on as ISO date.

    method: how, in a sentence that a report can show.
    """

    cpu: str
    threads: int
    memory_bytes: int
    read_bytes_per_s: float
    peak_flops_per_s: dict[str, float]
    measured_on: str
    method: str


def save_machine(record: MachineRecord, folder: Path | None = None) -> Path:
    """Writes the record; returns its path."""
    path = (folder or cache_folder()) / FILE_NAME
    path.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    return path


def load_record(folder: Path | None = None) -> MachineRecord | None:
    """The record kept on this machine, None where nothing was measured yet. Raises BadInput on a damaged file."""
    path = (folder or cache_folder()) / FILE_NAME
    if not path.exists():
        return None
    hint = "Run `windowtax bench floor` again, it writes the file anew."
    try:
        config = StrictConfig(json.loads(path.read_text(encoding="utf-8")), str(path))
        rates = cast(dict[str, Any], config.take("peak_flops_per_s", dict))
        record = MachineRecord(
            cpu=config.take("cpu", str),
            threads=config.take("threads", int),
            memory_bytes=config.take("memory_bytes", int),
            read_bytes_per_s=config.take("read_bytes_per_s", float),
            peak_flops_per_s={name: float(rate) for name, rate in rates.items()},
            measured_on=config.take("measured_on", str),
            method=config.take("method", str),
        )
    except (ValueError, TypeError, BadInput) as error:
        raise BadInput(f"{path} cannot be read: {error}", hint) from error
    if record.read_bytes_per_s <= 0 or not record.peak_flops_per_s or min(record.peak_flops_per_s.values()) <= 0:
        raise BadInput(f"{path} holds no rates above zero.", hint)
    return record


def load_machine(folder: Path | None = None) -> Hardware | None:
    """This machine as hardware, None where nothing was measured yet. Raises BadInput on a damaged file."""
    record = load_record(folder)
    return None if record is None else machine_hardware(record)


def machine_hardware(record: MachineRecord) -> Hardware:
    """A measured machine as hardware: rates measured, efficiencies 1, a rent that is assumed and says so."""
    date = record.measured_on

    def measured(value: float, unit: str, source: str) -> Sourced:
        return Sourced(value, unit, Basis.MEASURED, source, date)

    full = measured(1.0, "fraction", "the rate is itself a measured one, so times are floors")
    none = Sourced(0.0, "s", Basis.DERIVED, "floor: no overhead counted", date)
    rent = record.threads * USD_PER_THREAD_HOUR + record.memory_bytes / GB * USD_PER_GB_HOUR
    return Hardware(
        name=THIS_MACHINE,
        title=f"this machine ({record.cpu}, {record.threads} threads)",
        memory_bytes=measured(record.memory_bytes, "B", "operating system"),
        usable_memory=Sourced(0.9, "fraction", Basis.ASSUMED, "a tenth is left to the system", date),
        read_bytes_per_s=measured(record.read_bytes_per_s, "B/s", record.method),
        bandwidth_efficiency=full,
        widening_efficiency=full,
        cache_efficiency=full,
        link_efficiency=full,
        peak_flops_per_s={
            name: measured(rate, "FLOP/s", record.method) for name, rate in record.peak_flops_per_s.items()
        },
        compute_efficiency=dict.fromkeys(record.peak_flops_per_s, full),
        layer_overhead_s=none,
        expert_overhead_s=none,
        accelerators_per_node=measured(1, "accelerators", "one machine"),
        usd_per_hour=Sourced(rent, "USD/h", Basis.ASSUMED, _RENT_SOURCE, _RENT_DATE),
    )
