"""Published measurements beside what this planner says, row by row: none left out, the bad ones too."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from windowtax.base.sourced import Basis, Sourced
from windowtax.catalog.hardware_catalog import hardware
from windowtax.catalog.read import read_model
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.knee import Load, LoadPoint
from windowtax.plan.parallel import Group
from windowtax.plan.roofline import Rank
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.dtypes import cache_dtype
from windowtax.spec.hardware import Hardware
from windowtax.spec.model import ModelSpec
from windowtax.spec.workload import Workload

FOLDER = Path(__file__).parent / "published"
ENGINE_CHUNK_TOKENS = 8192
"""max_num_batched_tokens of the measured servers (InferenceMAX README: vllm serve --max-num-batched-tokens 8192)."""

FEW_USERS = 5
"""Up to here concurrency is low."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One published figure and ours. what: "TTFT", "TPOT", "tokens/s", "slope" or "intercept".

    users: concurrency. fitted: used to fit the constants that predict it. outlier: why it is known to miss.
    saturated: whether we say that memory is full; None where no load was asked.
    """

    title: str
    source: str
    what: str
    setting: str
    unit: str
    published: float
    predicted: float
    users: int = 1
    fitted: bool = False
    outlier: str = ""
    saturated: bool | None = None

    @property
    def tolerance(self) -> float | None:
        """What is promised: 10 % between tokens and 20 % to the first one, of few users; None for many."""
        if self.users > FEW_USERS:
            return None
        return 0.2 if self.what == "TTFT" else 0.1

    @property
    def error(self) -> float:
        """predicted / published - 1."""
        return self.predicted / self.published - 1

    @property
    def error_of_time(self) -> float:
        """The same of the time that is promised: a rate of few users is the inverse of their time per token."""
        return self.published / self.predicted - 1 if self.unit == "tokens/s" else self.error


def compared() -> tuple[Compared, ...]:
    """All published figures, in the order of the files."""
    alone = _read("alone.toml")
    found = [row for case in _read("serving.toml")["cases"] for row in _served(case)]
    found += [row for case in alone["prefills"] for row in _prefilled(case)]
    found += [row for case in alone["lines"] for row in _line(case)]
    found += [row for case in alone["decodes"] for row in _decoded(case)]
    found += [row for case in alone["pools"] for row in _pooled(case)]
    return tuple(found)


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


def _sizing(case: dict[str, Any], device: Hardware, prompt_tokens: int, output_tokens: int) -> Sizing:
    spec, dtype = read_model(case["model"]), cache_dtype(case.get("cache_dtype", "bf16"))
    return Sizing(
        spec=spec,
        hardware=device,
        workload=Workload(context_tokens=prompt_tokens + output_tokens, output_tokens=output_tokens),
        scheme=weight_scheme(case["weights"], spec),
        dtype=dtype,
        block_size=16,
        chunk_tokens=ENGINE_CHUNK_TOKENS,
    )


def _served(case: dict[str, Any]) -> Iterator[Compared]:
    device = _device(case, read_model(case["model"]))
    sizing = _sizing(case, device, case["prompt_tokens"], case["output_tokens"])
    load = Load.of(sizing, Deployment(tensor_parallel=case["tensor_parallel"]))
    for row in case["rows"]:
        point = load.at(row["users"], case.get("requests_per_user"))
        fitted = row.get("fitted", case["fitted"] if row["users"] == 4 else [])
        for what, key, unit, value in _figures(point):
            if key in row:
                yield Compared(
                    title=case["title"],
                    source=case["source"],
                    what=what,
                    setting=f"{row['users']} user{'s' if row['users'] > 1 else ''}",
                    unit=unit,
                    published=row[key],
                    predicted=value,
                    users=row["users"],
                    fitted=what.lower() in fitted,
                    outlier=row.get(f"{key.removesuffix('_ms')}_outlier", ""),
                    saturated=point.waits,
                )


def _figures(point: LoadPoint) -> tuple[tuple[str, str, str, float], ...]:
    return (
        ("TTFT", "ttft_ms", "ms", point.ttft_s * 1e3),
        ("TPOT", "tpot_ms", "ms", point.tpot_s * 1e3),
        ("tokens/s", "tokens_per_s", "tokens/s", point.output_tokens_per_s),
    )


def _device(case: dict[str, Any], spec: ModelSpec) -> Hardware:
    """The catalog's device, with the constants of the measured engine where the case states them."""
    device = hardware(case["hardware"])
    if "constants" not in case:
        return device
    source, date = case["constants"], case["date"]

    def measured(value: float, unit: str) -> Sourced:
        return Sourced(value, unit, Basis.MEASURED, source, date)

    weights = WeightBytes.of(spec, weight_scheme(case["weights"], spec), case["tensor_parallel"]).resident
    taken = weights / device.memory_bytes.value
    compute = dict(device.compute_efficiency)
    compute[case["weights"]] = measured(case["compute_efficiency"], "fraction")
    return replace(
        device,
        compute_efficiency=compute,
        layer_overhead_s=measured(case["layer_overhead_us"] / 1e6, "s"),
        all_reduce_s=measured(case["all_reduce_us"] / 1e6, "s"),
        usable_memory=measured(taken + case["cache_of_free"] * (1 - taken), "fraction"),
    )


def _prefilled(case: dict[str, Any]) -> Iterator[Compared]:
    for row in case["rows"]:
        sizing = _sizing(case, hardware(case["hardware"]), row["tokens"], 1)
        group = Group.of(sizing, Deployment(tensor_parallel=case["tensor_parallel"]))
        yield Compared(
            title=case["title"],
            source=case["source"],
            what="TTFT",
            setting=f"{row['tokens']:,} tokens",
            unit="ms",
            published=row["ttft_ms"],
            predicted=group.prefill(row["tokens"], 0, ENGINE_CHUNK_TOKENS).overlap_s * 1e3,
            fitted="ttft" in case["fitted"],
        )


def _line(case: dict[str, Any]) -> Iterator[Compared]:
    group = Group.of(_sizing(case, hardware(case["hardware"]), 1, 1), Deployment(tensor_parallel=1))
    first, last = (group.decode(tokens, 1).overlap_s * 1e3 for tokens in (10_000, 110_000))
    slope = (last - first) / 100_000
    figures = (
        ("slope", "slope_ms_per_token", "ms/token", slope),
        ("intercept", "intercept_ms", "ms", first - 10_000 * slope),
    )
    for what, key, unit, value in figures:
        if key in case:
            yield Compared(
                title=case["title"],
                source=case["source"],
                what=what,
                setting="1 user",
                unit=unit,
                published=case[key],
                predicted=value,
                fitted=what in case.get("fitted", []),
                outlier=case.get(f"{what}_outlier", ""),
            )


def _decoded(case: dict[str, Any]) -> Iterator[Compared]:
    for row in case["rows"]:
        ranks = f", {row['tensor_parallel']} cards" if row["tensor_parallel"] > 1 else ""
        yield Compared(
            title=case["title"],
            source=case["source"],
            what="tokens/s",
            setting=f"{row['label']} {row['weights']}{ranks}",
            unit="tokens/s",
            published=row["tokens_per_s"],
            predicted=1 / _whole_head(case, row).decode(case["context_tokens"], 1).overlap_s,
            fitted=row.get("fitted", False),
            outlier=row.get("outlier", ""),
        )


def _whole_head(case: dict[str, Any], row: dict[str, Any]) -> Rank:
    """One card of a group whose head is not split: it reads all of it, in the bits of the other weights."""
    device = hardware(case["hardware"])
    if "constants" in case:
        extra = Sourced(case["expert_overhead_us"] / 1e6, "s", Basis.ASSUMED, case["constants"], case["date"])
        device = replace(device, expert_overhead_s=extra)
    sizing = _sizing(row, device, case["context_tokens"], 1)
    if "vocab_size" in row:
        sizing = replace(sizing, spec=replace(sizing.spec, vocab_size=row["vocab_size"]))
    spec, scheme, ranks = sizing.spec, sizing.scheme, row["tensor_parallel"]
    rank = Group.of(sizing, Deployment(tensor_parallel=ranks)).rank
    (head,) = (weight for weight in spec.weights() if weight.name == "head")
    more = head.count * scheme.bits / 8 - scheme.bytes_of(head) / ranks
    return replace(rank, weights=replace(rank.weights, always=rank.weights.always + more))


def _pooled(case: dict[str, Any]) -> Iterator[Compared]:
    """A node of a pool: one card attends for its own users, all cards share the experts."""
    for overlap, how in ((2, "two batches in turns"), (1, "nothing hidden")):
        for what, key, unit, value in _pool_figures(case, overlap):
            yield Compared(
                title=case["title"],
                source=case["source"],
                what=what,
                setting=f"{case['users_per_card']} users per card, {how}",
                unit=unit,
                published=case[key],
                predicted=value,
                users=case["users_per_card"],
                outlier=case["note"],
            )


def _pool_figures(case: dict[str, Any], overlap: int) -> list[tuple[str, str, str, float]]:
    """Figure, its key, unit and value, as _figures gives them; overlap: batches that take turns."""
    cards, context, held = case["expert_parallel"], case["context_tokens"], case["users_per_card"]
    sizing = _sizing(case, hardware(case["hardware"]), context - 1, 1)
    group = Group.of(sizing, Deployment(tensor_parallel=1, expert_parallel=cards, overlap=overlap))
    node = sizing.hardware.node_size
    if "input_tokens_per_s" in case:
        computed = context / group.prefill(context, 0, ENGINE_CHUNK_TOKENS).overlap_s * node
        return [("input tokens/s", "input_tokens_per_s", "tokens/s", computed / (1 - case["cache_hits"]))]
    step_s = group.step_s(context, held)
    return [
        ("TPOT", "tpot_ms", "ms", step_s * 1e3),
        ("tokens/s", "tokens_per_s", "tokens/s", held * node / step_s),
    ]
