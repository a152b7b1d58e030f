"""The derivation: for each figure of a plan the formula, the numbers put in, the result and where they come from."""

from windowtax.base.sourced import Basis, Sourced
from windowtax.base.units import format_exact_bytes, format_rate, format_seconds, format_usd
from windowtax.plan.equation_steps import equation_steps
from windowtax.plan.load_steps import load_steps
from windowtax.plan.plan import Plan
from windowtax.plan.roofline import Bound
from windowtax.plan.steps import Step
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import LayerGroup

DERIVED = str(Basis.DERIVED)


def derivation(plan: Plan) -> tuple[Step, ...]:
    """Every step from the config and the data sheet to the dollars, in order."""
    steps = [*_cache_steps(plan), *_memory_steps(plan), *_hardware_steps(plan)]
    if plan.times is not None:
        steps += _time_steps(plan)
        steps += equation_steps(plan.equation)
    if plan.load is not None:
        steps += load_steps(plan)
    if plan.costs is not None:
        steps += _cost_steps(plan)
    return tuple(steps)


def _cache_steps(plan: Plan) -> list[Step]:
    layout, context = plan.layout, plan.workload.context_tokens
    steps = [_group_step(plan, index, group) for index, group in enumerate(layout.groups)]
    rows = [group for group in layout.groups if not group.cache.is_state]
    terms = [f"{group.token_bytes:,} x {group.cache.peak_tokens(context):,}" for group in rows]
    states = f" + {layout.state_bytes:,}" if layout.state_bytes else ""
    steps.append(
        Step(
            "cache of one user",
            "sum over groups of bytes per token x tokens kept, + states",
            (" + ".join(terms) or "0") + states,
            format_exact_bytes(layout.bytes_for(context)),
            DERIVED,
            "CacheLayout.bytes_for",
        )
    )
    chunk, block = plan.sizing.chunk_tokens, layout.block_size
    steps.append(
        Step(
            "cache of one user, allocated",
            "blocks of each group x bytes of a block",
            ", ".join(f"{count:,} blocks" for count in layout.peak_blocks(context, chunk)) + f" of {block} tokens",
            format_exact_bytes(layout.pool_bytes_for(context, chunk)),
            DERIVED,
            f"CacheLayout.pool_bytes_for; a window keeps window - 1 + a chunk of {chunk:,} tokens while it is filled",
        )
    )
    return steps


def _group_step(plan: Plan, index: int, group: LayerGroup) -> Step:
    kind = plan.spec.layers[group.layers[0]].attention
    planes = " + ".join(
        f"{plane.name} {' x '.join(map(str, plane.shape))} x {plane.bits} bit" for plane in group.cache.planes
    )
    name = kind.kind
    if isinstance(kind, SoftmaxAttention) and kind.window:
        name += f", the last {kind.window:,} tokens"
    if isinstance(kind, SoftmaxAttention) and kind.chunk:
        name += f", chunks of {kind.chunk:,} tokens"
    cache, size, unit = group.cache, group.token_bytes, "token"
    if cache.stride > 1:
        unit = f"row of {cache.stride} tokens"
    if cache.is_state:
        size, unit = cache.sequence_bytes * len(group.layers), "sequence"
    aside = ", workspace: allocated, not counted as cache" if cache.workspace else ""
    return Step(
        f"bytes per {unit}, group {index + 1}{aside}",
        "layers x sum of planes",
        f"{len(group.layers)} {name} layers x ({planes})",
        f"{size:,} B",
        DERIVED,
        f"{plan.spec.family} config; cache dtype {plan.dtype.name}: {plan.dtype.note}",
    )


def _memory_steps(plan: Plan) -> list[Step]:
    spec, budget, deployment = plan.spec, plan.fit.budget, plan.fit.deployment
    room = budget.usable_bytes - budget.weights_bytes - budget.activations_bytes
    return [
        Step(
            "weights",
            "sum over tensors of numbers x bits / 8, + scales",
            f"{spec.total_parameters:,} parameters; {plan.scheme.note}",
            format_exact_bytes(plan.weights.resident),
            DERIVED,
            "ModelSpec.weights",
        ),
        Step(
            "weights of one accelerator",
            "attention heads, MLP matrices, embedding and head split over ranks; norms on each",
            f"ranks {deployment.tensor_parallel}, stages {deployment.pipeline_stages}",
            format_exact_bytes(budget.weights_bytes),
            DERIVED,
            "Shoeybi 2019, arXiv 1909.08053",
        ),
        Step(
            "activations",
            "chunk x (2 hidden + outputs of the widest part) x 2 B + users x vocabulary x 4 B",
            f"chunk {plan.sizing.chunk_tokens:,}, hidden {spec.hidden_size:,}, vocabulary {spec.vocab_size:,}",
            format_exact_bytes(budget.activations_bytes),
            DERIVED,
            "upper bound: not divided by the ranks",
        ),
        Step(
            "room for cache",
            "usable - weights - activations",
            f"{budget.usable_bytes:,} - {budget.weights_bytes:,} - {budget.activations_bytes:,}",
            format_exact_bytes(room) if room >= 0 else f"-{format_exact_bytes(-room)}",
            DERIVED,
            "",
        ),
        Step(
            "most users",
            "groups x room / cache of one user on one accelerator",
            f"{deployment.replicas} x {room:,} / {budget.cache_bytes_per_user:,}",
            f"{plan.fit.most_users:,}",
            DERIVED,
            "rounded down",
        ),
    ]


def _hardware_steps(plan: Plan) -> list[Step]:
    hardware = plan.hardware
    element = hardware.compute_element(plan.scheme.compute)
    figures = [
        ("memory", format_exact_bytes(int(hardware.memory_bytes.value)), hardware.memory_bytes),
        ("usable share", f"{hardware.usable_memory.value:g}", hardware.usable_memory),
        ("bandwidth BW", format_rate(hardware.read_bytes_per_s.value, "B/s"), hardware.read_bytes_per_s),
        ("reached on weights eta_W", f"{hardware.bandwidth_efficiency.value:g}", hardware.bandwidth_efficiency),
        ("on weights widened on the way", f"{hardware.widening_efficiency.value:g}", hardware.widening_efficiency),
        ("reached on the cache eta_KV", f"{hardware.cache_efficiency.value:g}", hardware.cache_efficiency),
        (
            f"compute C, {element}",
            format_rate(hardware.peak_flops_per_s[element].value, "FLOP/s"),
            hardware.peak_flops_per_s[element],
        ),
        (
            f"its efficiency eta_C, {element}",
            f"{hardware.compute_efficiency[element].value:g}",
            hardware.compute_efficiency[element],
        ),
        ("overhead per layer and step", format_seconds(hardware.layer_overhead_s.value), hardware.layer_overhead_s),
    ]
    if any(weight.active < 1 for weight in plan.spec.weights()):
        extra = hardware.expert_overhead_s
        figures.append(("more where a layer has experts", format_seconds(extra.value), extra))
    share = hardware.widened_experts
    if share is not None and plan.group.rank.widened_flops:
        figures.append(("share of eta_C while experts' weights are widened", f"{share.value:g}", share))
    figures += _link_figures(plan)
    if hardware.usd_per_hour is not None:
        figures.append(("price", f"{format_usd(hardware.usd_per_hour.value)}/h", hardware.usd_per_hour))
    return [_figure_step(name, value, figure) for name, value, figure in figures]


def _link_figures(plan: Plan) -> list[tuple[str, str, Sourced]]:
    hardware, deployment = plan.hardware, plan.fit.deployment
    if hardware.link_bytes_per_s is None or deployment.accelerators == deployment.replicas:
        return []
    figures = [
        ("link", format_rate(hardware.link_bytes_per_s.value, "B/s"), hardware.link_bytes_per_s),
        ("reached of links", f"{hardware.link_efficiency.value:g}", hardware.link_efficiency),
    ]
    if hardware.all_reduce_s is not None and deployment.tensor_parallel > 1:
        figures.append(("latency of an all-reduce", format_seconds(hardware.all_reduce_s.value), hardware.all_reduce_s))
    hop = hardware.all_reduce_hop_s
    if hop is not None and deployment.tensor_parallel > 1:
        figures.append(("each step of a ring's all-reduce", format_seconds(hop.value), hop))
    return figures


def _figure_step(name: str, value: str, figure: Sourced) -> Step:
    return Step(name, "", "", value, str(figure.basis), f"{figure.source} ({figure.date})")


def _time_steps(plan: Plan) -> list[Step]:
    times, workload, users = plan.times, plan.workload, plan.users_per_replica
    assert times is not None
    hardware, ttft, tpot = plan.hardware, times.ttft, times.tpot
    held = plan.group.users_per_stream(users)
    cache = plan.rank.layout.read_bytes(workload.context_tokens) / plan.rank.ring
    computed = workload.prompt_tokens - workload.cached_tokens
    steps = [
        Step(
            "TTFT",
            "max(bytes / (eta BW), FLOPs / (eta_C C)) + link + overhead, per rank",
            f"{computed:,} tokens: {ttft.bytes:,.0f} B in {format_seconds(ttft.memory_s)}; {ttft.flops:.3e} FLOP in "
            f"{format_seconds(ttft.compute_s)}{_rest(ttft)}",
            format_seconds(ttft.overlap_s),
            DERIVED,
            "roofline; matrices at eta_C of their type, attention scores in 16 bits; the sum is the other bound",
        ),
        Step(
            "TPOT",
            "max(weights read / (eta_W BW) + users x cache read / (eta_KV BW), FLOPs / (eta_C C)) + link + overhead",
            f"{plan.rank.weights.read(held):,.0f} B / {format_rate(plan.rank.weight_bytes_per_s, 'B/s')} + {held:,} x "
            f"{cache:,.0f} B / {format_rate(hardware.cache_bytes_per_s, 'B/s')} = {format_seconds(tpot.memory_s)}; "
            f"{tpot.flops:.3e} FLOP in {format_seconds(tpot.compute_s)}{_rest(tpot)}",
            format_seconds(tpot.overlap_s),
            DERIVED,
            "roofline; routed experts: those touched, N (1 - (1 - k/E)^users)",
        ),
    ]
    if users > 1:
        loaded = Step(
            "TPOT, steady load",
            "(decode steps + the other users' prefills) / decode steps",
            f"{format_seconds(times.decode_s)} + {users - 1:,} x {format_seconds(ttft.overlap_s)} over "
            f"{workload.output_tokens - 1:,} steps",
            " - ".join(format_seconds(bound) for bound in times.loaded_tpot_s),
            DERIVED,
            "brackets NVIDIA NIM's Llama-70B FP8 table at 25 and 50 users",
        )
        steps.append(loaded)
    return steps


def _rest(bound: Bound) -> str:
    parts = (("link", bound.link_s), ("overhead", bound.overhead_s))
    return "".join(f"; {name} {format_seconds(seconds)}" for name, seconds in parts if seconds)


def _cost_steps(plan: Plan) -> list[Step]:
    costs, times, price = plan.costs, plan.times, plan.hardware.usd_per_hour
    assert costs is not None and times is not None and price is not None
    group = plan.fit.deployment.accelerators // plan.fit.deployment.replicas
    return [
        Step(
            "cost of a call",
            "accelerators of the group x price / 3600 x (TTFT + decode / users of the group)",
            f"{group} x {price.value:g} / 3600 x ({times.ttft.overlap_s:.4g} + {times.decode_s:.4g} / "
            f"{plan.users_per_replica:,})",
            format_usd(costs.bill.total_usd),
            DERIVED,
            "while the machines are busy; waiting machines cost the same and are not on this bill",
        ),
        Step(
            "holding one window for an hour",
            "price of all accelerators / most users",
            f"{costs.usd_per_hour:,.4g} / {plan.fit.most_users:,}",
            f"{format_usd(costs.usd_per_user_hour)}/h",
            DERIVED,
            "the standing charge",
        ),
    ]
