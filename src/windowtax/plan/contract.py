"""Plan -> JSON and CSV. The keys are a contract: plan/reference.py documents each, and a test compares the two."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from windowtax.base.sourced import Sourced
from windowtax.plan.equation import CLAIMED_CONTEXT_TOKENS, CLAIMED_SHARES
from windowtax.plan.fit import Fit
from windowtax.plan.knee import LoadPoint
from windowtax.plan.plan import Plan
from windowtax.spec.hardware import Hardware

if TYPE_CHECKING:
    from windowtax.plan.api_side import ApiSide

SCHEMA_VERSION = 1

_SHOWN_PERCENTILES = (50, 90, 99)


def plan_json(plan: Plan, api: "ApiSide | None" = None) -> dict[str, Any]:
    """The plan as plain JSON values. Bytes and tokens are integers, times are s, money is USD.

    api: the same calls at an API, where that was asked for.
    """
    spec, workload = plan.spec, plan.workload
    return {
        "schema_version": SCHEMA_VERSION,
        "model": spec.name,
        "family": spec.family,
        "max_context_tokens": spec.max_context_tokens,
        "context_tokens": workload.context_tokens,
        "prompt_tokens": workload.prompt_tokens,
        "output_tokens": workload.output_tokens,
        "cached_tokens": workload.cached_tokens,
        "users": workload.users,
        "cache_dtype": plan.dtype.name,
        "cache_dtype_from": plan.cache_dtype_from,
        "weights_dtype": plan.scheme.name,
        "parameters": {"total": spec.total_parameters, "active": spec.active_parameters},
        "cache": _cache(plan),
        "weights": {"bytes": plan.weights.resident},
        "activations": {"bytes": plan.fit.budget.activations_bytes},
        "hardware": _hardware(plan.hardware),
        "fit": _fit(plan),
        "time": _time(plan),
        "equation": _equation(plan),
        "load": _load(plan),
        "slo": _slo(plan),
        "cost": _cost(plan),
        "api": api.as_json() if api else None,
        "warnings": list(plan.warnings),
    }


def plan_row(plan: Plan, api: "ApiSide | None" = None) -> dict[str, str | int | float | bool]:
    """The plan as one row of a CSV: dotted keys, no lists; of sourced figures the value only, empty for null."""
    return dict(_flat(plan_json(plan, api), ""))


def _flat(value: object, path: str) -> list[tuple[str, str | int | float | bool]]:
    if isinstance(value, Mapping):
        entries: Mapping[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        if "basis" in entries:
            return _flat(entries["value"], path)
        return [row for key, item in entries.items() for row in _flat(item, f"{path}.{key}" if path else key)]
    if value is None:
        return [(path, "")]
    return [(path, value)] if isinstance(value, str | int | float) else []


def _cache(plan: Plan) -> dict[str, Any]:
    layout, sizing, workload = plan.layout, plan.sizing, plan.workload
    allocated = layout.pool_bytes_for(workload.context_tokens, sizing.chunk_tokens)
    return {
        "growth_bytes_per_token": layout.growth_bytes_per_token,
        "window_bytes": layout.window_bytes,
        "state_bytes": layout.state_bytes,
        "total_bytes": layout.bytes_for(workload.context_tokens),
        "block_size_tokens": layout.block_size,
        "chunk_tokens": sizing.chunk_tokens,
        "allocated_bytes_per_user": allocated,
        "users_bytes": allocated * workload.users,
        "groups": [
            {
                "kinds": sorted({plan.spec.layers[index].attention.kind for index in group.layers}),
                "layers": len(group.layers),
                "token_bytes": group.token_bytes,
                "window": group.cache.window,
                "chunk": group.cache.chunk,
            }
            for group in layout.groups
        ],
    }


def sourced_json(figure: Sourced) -> dict[str, Any]:
    """A figure with what it is and where it comes from."""
    return {
        "value": figure.value,
        "unit": figure.unit,
        "basis": str(figure.basis),
        "source": figure.source,
        "date": figure.date,
    }


def _hardware(hardware: Hardware) -> dict[str, Any]:
    link, price = hardware.link_bytes_per_s, hardware.usd_per_hour
    network = hardware.network_bytes_per_s
    return {
        "name": hardware.name,
        "title": hardware.title,
        "memory_bytes": sourced_json(hardware.memory_bytes),
        "usable_memory": sourced_json(hardware.usable_memory),
        "read_bytes_per_s": sourced_json(hardware.read_bytes_per_s),
        "bandwidth_efficiency": sourced_json(hardware.bandwidth_efficiency),
        "widening_efficiency": sourced_json(hardware.widening_efficiency),
        "cache_efficiency": sourced_json(hardware.cache_efficiency),
        "link_efficiency": sourced_json(hardware.link_efficiency),
        "peak_flops_per_s": {name: sourced_json(rate) for name, rate in hardware.peak_flops_per_s.items()},
        "compute_efficiency": {name: sourced_json(share) for name, share in hardware.compute_efficiency.items()},
        "widened_experts": sourced_json(hardware.widened_experts) if hardware.widened_experts else None,
        "layer_overhead_s": sourced_json(hardware.layer_overhead_s),
        "expert_overhead_s": sourced_json(hardware.expert_overhead_s),
        "all_reduce_s": sourced_json(hardware.all_reduce_s) if hardware.all_reduce_s else None,
        "all_reduce_hop_s": sourced_json(hardware.all_reduce_hop_s) if hardware.all_reduce_hop_s else None,
        "accelerators_per_node": sourced_json(hardware.accelerators_per_node),
        "link_bytes_per_s": sourced_json(link) if link else None,
        "network_bytes_per_s": sourced_json(network) if network else None,
        "usd_per_hour": sourced_json(price) if price else None,
    }


def _fit(plan: Plan) -> dict[str, Any]:
    fit, budget, deployment = plan.fit, plan.fit.budget, plan.fit.deployment
    return {
        "fits": fit.fits,
        "accelerators": deployment.accelerators,
        "tensor_parallel": deployment.tensor_parallel,
        "pipeline_stages": deployment.pipeline_stages,
        "replicas": deployment.replicas,
        "ring": deployment.ring,
        "expert_parallel": deployment.expert_parallel,
        "overlap": deployment.overlap,
        "nodes": fit.nodes,
        "kv_copies": fit.kv_copies,
        "users_per_group": plan.users_per_replica,
        "most_users": fit.most_users,
        "longest_context_tokens": budget.longest_context_tokens,
        "accelerator": {
            "memory_bytes": budget.memory_bytes,
            "usable_bytes": budget.usable_bytes,
            "weights_bytes": budget.weights_bytes,
            "activations_bytes": budget.activations_bytes,
            "cache_bytes": budget.cache_bytes,
            "left_bytes": budget.left_bytes,
        },
        "choices": [_choice(choice) for choice in plan.choices],
    }


def _choice(fit: Fit) -> dict[str, Any]:
    budget = fit.budget
    return {
        "tensor_parallel": fit.deployment.tensor_parallel,
        "weights_bytes": budget.weights_bytes,
        "cache_bytes_per_user": budget.cache_bytes_per_user,
        "kv_copies": fit.kv_copies,
        "most_users": fit.most_users,
    }


def _time(plan: Plan) -> dict[str, Any] | None:
    times = plan.times
    if times is None:
        return None
    return {
        "ttft_s": times.ttft.overlap_s,
        "ttft_serial_s": times.ttft.serial_s,
        "ttft_bound_by": times.ttft.bound_by,
        "tpot_s": times.tpot.overlap_s,
        "tpot_serial_s": times.tpot.serial_s,
        "tpot_bound_by": times.tpot.bound_by,
        "tpot_cache_share": times.cache_share,
        "loaded_tpot_low_s": times.loaded_tpot_s[0],
        "loaded_tpot_high_s": times.loaded_tpot_s[1],
        "call_s": times.call_s,
        "output_tokens_per_s": times.output_tokens_per_s,
    }


def _cost(plan: Plan) -> dict[str, Any] | None:
    costs = plan.costs
    if costs is None:
        return None
    return {
        "usd_per_hour": costs.usd_per_hour,
        "usd_per_user_hour": costs.usd_per_user_hour,
        "usd_per_call": costs.bill.total_usd,
        "usd_per_call_prompt": costs.bill.prompt_usd,
        "usd_per_call_output": costs.bill.output_usd,
        "usd_per_mtok_prompt": costs.bill.usd_per_mtok_prompt,
        "usd_per_mtok_output": costs.bill.usd_per_mtok_output,
    }


def _equation(plan: Plan) -> dict[str, Any]:
    equation, step = plan.equation, plan.equation.step
    first, last = (equation.batch_for_share(share, CLAIMED_CONTEXT_TOKENS) for share in CLAIMED_SHARES)
    return {
        "batch": equation.batch,
        "memory_s": step.memory_s,
        "compute_s": step.compute_s,
        "step_overlap_s": step.overlap_s,
        "step_serial_s": step.serial_s,
        "sweet_spot_batch": equation.sweet_spot_batch,
        "reached_sweet_spot_batch": equation.reached_sweet_spot_batch,
        "memory_limit_batch": equation.most_in_flight,
        "cache_passes_weights_tokens": equation.cache_passes_weights_tokens,
        "prefill_equal_tokens": equation.prefill_equal_tokens,
        "decode_equal_tokens": equation.decode_equal_tokens,
        "cache_time_share": equation.cache_time_share(),
        "cache_time_share_500k": equation.cache_time_share(CLAIMED_CONTEXT_TOKENS),
        "batch_for_68_percent_500k": first,
        "batch_for_94_percent_500k": last,
    }


def _load(plan: Plan) -> dict[str, Any] | None:
    load, point = plan.load, plan.point
    if load is None or point is None:
        return None
    return {
        "most_in_flight": load.most_in_flight,
        "now": _point(point)
        | {f"ttft_p{percent}_s": point.ttft_within_s(percent) for percent in _SHOWN_PERCENTILES}
        | {f"tpot_p{percent}_s": point.tpot_within_s(percent) for percent in _SHOWN_PERCENTILES},
        "knee": _point(load.knee),
        "full": _point(load.at(load.most_in_flight)),
        "curve": [_point(at) for at in load.curve()],
    }


def _point(point: LoadPoint) -> dict[str, Any]:
    return {
        "users": point.users,
        "in_flight": point.in_flight,
        "ttft_s": point.ttft_s,
        "tpot_s": point.tpot_s,
        "requests_per_s": point.requests_per_s,
        "output_tokens_per_s": point.output_tokens_per_s,
    }


def _slo(plan: Plan) -> dict[str, Any]:
    slo, promise = plan.slo, plan.promise
    return {
        "ttft_s": slo.ttft_s if slo else None,
        "ttft_percent": slo.ttft_percent if slo else None,
        "tpot_s": slo.tpot_s if slo else None,
        "tpot_percent": slo.tpot_percent if slo else None,
        "kept": None if slo is None else promise is not None,
        "most_users_per_replica": promise.users_per_replica if promise else None,
    }
