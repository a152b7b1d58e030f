"""The plan as sections of rows for people. The command line draws them; every row says what its figure is."""

from dataclasses import dataclass

from windowtax.base.sourced import Basis, Sourced
from windowtax.base.units import (
    format_bytes,
    format_exact_bytes,
    format_rate,
    format_seconds,
    format_tokens,
    format_usd,
)
from windowtax.plan.knee import LoadPoint
from windowtax.plan.plan import Plan
from windowtax.plan.roofline import Bound
from windowtax.plan.schemes import CHECKPOINT

DERIVED = str(Basis.DERIVED)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what it is of, the figure, a remark, and its basis."""

    label: str
    value: str
    note: str
    basis: str


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under a heading."""

    title: str
    rows: tuple[Row, ...]


def headline(plan: Plan) -> str:
    """The plan's subject in a sentence."""
    workload, deployment = plan.workload, plan.fit.deployment
    people = f"{workload.users:,} user{'s' if workload.users > 1 else ''}"
    return (
        f"{plan.spec.name}, {format_tokens(workload.context_tokens)} tokens of context, {people}, "
        f"on {deployment.accelerators:,} x {plan.hardware.title}"
    )


def sections(plan: Plan) -> tuple[Section, ...]:
    """All sections, in the order in which a reader asks."""
    found = [_model(plan), _cache(plan), _memory(plan), _fit(plan)]
    if plan.times is not None:
        found.append(_time(plan))
    if plan.load is not None:
        found.append(_load(plan))
    if plan.costs is not None:
        found.append(_cost(plan))
    return tuple(found)


def choices_table(plan: Plan) -> list[tuple[str, ...]]:
    """One line per tensor-parallel size, headings first: what each holds on its accelerators."""
    lines = [("ranks", "weights each", "cache each, per user", "cache copies", "most users")]
    for choice in plan.choices:
        budget, ranks = choice.budget, choice.deployment.tensor_parallel
        most = f"{choice.most_users:,}" if choice.most_users else "does not fit"
        lines.append(
            (
                f"{ranks}{' *' if ranks == plan.fit.deployment.tensor_parallel else ''}",
                format_bytes(budget.weights_bytes),
                format_bytes(budget.cache_bytes_per_user),
                f"{choice.kv_copies:.3g}",
                most,
            )
        )
    return lines


def _model(plan: Plan) -> Section:
    spec = plan.spec
    kinds = ", ".join(f"{count} {kind}" for kind, count in spec.kinds.items())
    active = spec.active_parameters
    rows = [
        Row("parameters", f"{spec.total_parameters:,}", f"{spec.total_parameters / 1e9:,.2f} billion", DERIVED),
        Row("attention layers", f"{len(spec.layers)}", kinds, "config"),
        Row("window claimed", f"{spec.max_context_tokens:,}", "tokens", "config"),
    ]
    if active != spec.total_parameters:
        rows.insert(1, Row("active per token", f"{active:,}", f"{active / 1e9:,.2f} billion", DERIVED))
    return Section(f"Model ({spec.family})", tuple(rows))


def _cache(plan: Plan) -> Section:
    layout, workload, sizing = plan.layout, plan.workload, plan.sizing
    context = workload.context_tokens
    allocated = layout.pool_bytes_for(context, sizing.chunk_tokens)
    rows = [
        Row(
            "per further token",
            format_bytes(layout.growth_bytes_per_token),
            _exact(layout.growth_bytes_per_token),
            DERIVED,
        )
    ]
    if layout.window_bytes:
        rows.append(Row("windows when full", format_bytes(layout.window_bytes), _exact(layout.window_bytes), DERIVED))
    if layout.state_bytes:
        rows.append(Row("states", format_bytes(layout.state_bytes), _exact(layout.state_bytes), DERIVED))
    total = layout.bytes_for(context)
    blocks = f"{allocated:,} B: blocks of {layout.block_size}, chunk {sizing.chunk_tokens:,}"
    rows += [
        Row(f"one user at {context:,}", format_bytes(total), _exact(total), DERIVED),
        Row("the same, allocated", format_bytes(allocated), blocks, DERIVED),
    ]
    if workload.users > 1:
        everyone = allocated * workload.users
        rows.append(Row(f"{workload.users:,} users", format_bytes(everyone), _exact(everyone), DERIVED))
    why = ", as the checkpoint was calibrated for" if plan.cache_dtype_from == CHECKPOINT else ""
    return Section(f"KV cache ({plan.dtype.name}{why})", tuple(rows))


def _memory(plan: Plan) -> Section:
    budget, hardware = plan.fit.budget, plan.hardware
    users = f"{budget.users:,} user{'s' if budget.users > 1 else ''} of its group"
    left = "left" if budget.left_bytes >= 0 else "MISSING"
    rows = (
        _figure("memory", format_bytes(budget.memory_bytes), hardware.memory_bytes, _exact(budget.memory_bytes)),
        _figure(
            "usable",
            format_bytes(budget.usable_bytes),
            hardware.usable_memory,
            f"{hardware.usable_memory.value:.0%} of it",
        ),
        Row("- weights", format_bytes(budget.weights_bytes), plan.scheme.note, DERIVED),
        Row("- KV cache", format_bytes(budget.cache_bytes), users, DERIVED),
        Row("- activations", format_bytes(budget.activations_bytes), "one prefill chunk and the logits", DERIVED),
        Row(f"= {left}", format_bytes(abs(budget.left_bytes)), "", DERIVED),
    )
    return Section(f"Memory of one of {plan.fit.deployment.accelerators:,}", rows)


def _fit(plan: Plan) -> Section:
    fit, workload, deployment = plan.fit, plan.workload, plan.fit.deployment
    parts = [f"{deployment.tensor_parallel} rank{'s' if deployment.tensor_parallel > 1 else ''} per group"]
    if deployment.pipeline_stages > 1:
        parts.append(f"{deployment.pipeline_stages} stages")
    if deployment.attention_groups > 1:
        parts.append(f"experts over {deployment.expert_parallel}")
    if deployment.overlap > 1:
        parts.append(f"{deployment.overlap} batches in turns")
    if deployment.ring > 1:
        parts.append(f"ring of {deployment.ring}")
    if deployment.replicas > 1:
        parts.append(f"{deployment.replicas} groups")
    longest = fit.budget.longest_context_tokens
    beyond = longest is None or longest > plan.spec.max_context_tokens
    rows = (
        Row("accelerators", f"{deployment.accelerators:,}", ", ".join(parts), DERIVED),
        Row("most users", f"{fit.most_users:,}", f"at {workload.context_tokens:,} tokens each", DERIVED),
        Row(
            "longest context",
            "unbounded" if longest is None else f"{longest:,}",
            f"tokens for {fit.budget.users:,} per group{', more than the model claims' if beyond else ''}",
            DERIVED,
        ),
    )
    return Section("Fit" if fit.fits else "Fit: DOES NOT FIT", rows)


def _time(plan: Plan) -> Section:
    times, hardware, users = plan.times, plan.hardware, plan.users_per_replica
    assert times is not None
    element = hardware.compute_element(plan.scheme.compute)
    compute = _share(hardware.compute_efficiency[element], hardware.peak_flops_per_s[element], "FLOP/s")
    weights = hardware.weight_bytes_per_s(plan.scheme.bits, plan.scheme.compute) / hardware.read_bytes_per_s.value
    reading = f"{weights:.0%} and {_share(hardware.cache_efficiency, hardware.read_bytes_per_s, 'B/s')}"
    ttft, tpot, output = times.ttft, times.tpot, plan.workload.output_tokens
    rows = [
        Row("TTFT, alone", _span(ttft.overlap_s, ttft.serial_s), _why(ttft, f"{compute} {element}", reading), DERIVED),
        Row(
            f"TPOT, {users:,} together" if users > 1 else "TPOT",
            _span(tpot.overlap_s, tpot.serial_s),
            _why(tpot, f"{compute} {element}", reading),
            DERIVED,
        ),
        Row("cache's part of reads", f"{times.cache_share:.1%}", "of the bytes read per decode step", DERIVED),
        Row("whole call, alone", format_seconds(times.call_s), f"with {output:,} output tokens", DERIVED),
    ]
    if users > 1:
        low, high = times.loaded_tpot_s
        rows.append(Row("TPOT, steady load", _span(low, high), "other prompts are read in between", DERIVED))
    rows.append(Row("output tokens/s", f"{times.output_tokens_per_s:,.1f}", "whole deployment, steady load", DERIVED))
    return Section("Time (if reading and computing overlap - if they do not)", tuple(rows))


def _load(plan: Plan) -> Section:
    load, point, equation = plan.load, plan.point, plan.equation
    assert load is not None and point is not None
    full = load.at(load.most_in_flight)
    points = {
        f"{point.users:,} user{'s' if point.users > 1 else ''}": point,
        f"{load.knee.users:,}, the knee": load.knee,
    }
    points[f"{full.users:,}, memory full"] = full
    rows = [Row(name, f"{at.output_tokens_per_s:,.1f} tokens/s", _seen(at), DERIVED) for name, at in points.items()]
    if plan.slo is not None:
        kept = f"up to {plan.promise.users_per_replica:,} users" if plan.promise else "NOT KEPT"
        rows.append(Row("promise", kept, f"per replica: {plan.slo.words}", DERIVED))
    crossing = equation.cache_passes_weights_tokens
    rows.append(
        Row(
            "sweet-spot batch",
            f"{equation.sweet_spot_batch:,.0f}",
            "sequences; computing takes as long as reading the weights",
            DERIVED,
        )
    )
    rows.append(
        Row(
            "cache passes weights",
            "never" if crossing is None else f"{crossing:,}",
            f"tokens; reads per step, {equation.batch:,} at a time",
            DERIVED,
        )
    )
    return Section("Load of one replica (steady; TTFT and TPOT are means, p90 beside them)", tuple(rows))


def _seen(point: LoadPoint) -> str:
    if point.asking == 1:
        return f"TTFT {format_seconds(point.ttft_s)}, TPOT {format_seconds(point.tpot_s)}"
    slow, further = point.ttft_within_s(90), f" (p90 {format_seconds(point.tpot_within_s(90))})"
    first = f" (p90 {format_seconds(slow)})" if slow is not None else ""
    return f"TTFT {format_seconds(point.ttft_s)}{first}, TPOT {format_seconds(point.tpot_s)}{further}"


def _why(bound: Bound, compute: str, reading: str) -> str:
    return f"memory-bound, {reading}" if bound.bound_by == "memory" else f"compute-bound, {compute}"


def _share(share: Sourced, rate: Sourced, unit: str) -> str:
    """Times are derived, but only as good as the efficiency in them: its basis is shown."""
    return f"{share.value:.0%} ({share.basis}) of {format_rate(rate.value, unit)}"


def _cost(plan: Plan) -> Section:
    costs, price = plan.costs, plan.hardware.usd_per_hour
    assert costs is not None and price is not None
    bill = costs.bill
    rows = (
        _figure(
            "one accelerator", f"{format_usd(price.value)}/h", price, f"{price.source.split(',')[0]}, {price.date}"
        ),
        Row(
            "all of them",
            f"{format_usd(costs.usd_per_hour)}/h",
            f"{plan.fit.deployment.accelerators:,} of them",
            DERIVED,
        ),
        Row("holding one window", f"{format_usd(costs.usd_per_user_hour)}/h", f"{plan.fit.most_users:,} fit", DERIVED),
        Row(
            "one call, when busy",
            format_usd(bill.total_usd),
            f"prompt {format_usd(bill.prompt_usd)}, output {format_usd(bill.output_usd)}",
            DERIVED,
        ),
        Row("per million prompt", format_usd(bill.usd_per_mtok_prompt), "tokens", DERIVED),
        Row("per million output", format_usd(bill.usd_per_mtok_output), "tokens", DERIVED),
    )
    return Section("Cost", rows)


def _figure(label: str, value: str, figure: Sourced, note: str) -> Row:
    return Row(label, value, note, str(figure.basis))


def _span(low_s: float, high_s: float) -> str:
    low, high = format_seconds(low_s), format_seconds(high_s)
    if low == high:
        return low
    number, _, unit = low.rpartition(" ")
    # One unit is enough where both have the same; "3 min 20 s" is not a number and a unit.
    shared = high.endswith(f" {unit}") and " " not in number and high.count(" ") == 1
    return f"{number} - {high}" if shared else f"{low} - {high}"


def _exact(num_bytes: int) -> str:
    return format_exact_bytes(num_bytes).split(" (")[0]
