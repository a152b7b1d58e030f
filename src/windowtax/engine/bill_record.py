"""The bill as a JSON record, the contract of docs/reference/bill-json.md. Bytes are integers, times are seconds."""

from dataclasses import asdict
from typing import Any

from windowtax.engine.bill import Bill, Speed
from windowtax.price.api import BillPair

SCHEMA_VERSION = 1


def bill_record(bill: Bill) -> dict[str, Any]:
    """The record of a bill."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": bill.model,
        "compute_dtype": bill.compute_dtype,
        "computed_by": bill.computed_by,
        "weights": bill.weights,
        "cache_dtype": bill.cache_dtype,
        "layers": [{"kind": kind, "count": count} for kind, count in bill.kinds.items()],
        "tokens": {
            "prompt": bill.num_prompt_tokens,
            "output": bill.num_output_tokens,
            "admitted_context": bill.context_tokens,
            "max_context": bill.max_context_tokens,
        },
        "finish_reason": bill.finish_reason,
        "speculation": {
            "drafted_tokens": bill.drafted_tokens,
            "accepted_tokens": bill.accepted_tokens,
            "decode_steps": bill.decode_steps,
        },
        "time": _time_record(bill.speed),
        "floor": _floor_record(bill.speed),
        "cache": _cache_record(bill),
        "memory": {
            "weight_bytes": bill.weight_bytes,
            "resident_bytes": bill.resident_bytes,
            "peak_resident_bytes": bill.peak_resident_bytes,
            "resident_before_request_bytes": bill.resident_before_bytes,
        },
        "machine": {
            "name": bill.hardware.title,
            "read_bytes_per_s": bill.hardware.read_bytes_per_s.value,
            "usd_per_hour": bill.usd_per_hour,
        },
        "own_usd": bill.own_usd,
        "api": [_api_record(pair) for pair in bill.api],
    }


def _time_record(speed: Speed) -> dict[str, Any]:
    return {
        "ttft_s": speed.ttft_s,
        "tpot_s": speed.tpot_s,
        "prefill_s": speed.prefill_s,
        "decode_s": speed.decode_s,
        "total_s": speed.total_s,
        "prefill_tokens_per_s": speed.prefill_tokens_per_s,
        "decode_tokens_per_s": speed.decode_tokens_per_s,
    }


def _floor_record(speed: Speed) -> dict[str, Any]:
    return {
        "prefill": asdict(speed.prefill_floor) | {"share_reached": speed.prefill_of_floor},
        "decode_step": asdict(speed.decode_floor) | {"share_reached": speed.decode_of_floor},
    }


def _cache_record(bill: Bill) -> dict[str, Any]:
    cache = bill.cache
    return {
        "pool": {"predicted_bytes": cache.pool_predicted_bytes, "allocated_bytes": cache.pool_allocated_bytes},
        "held_at_peak": {"predicted_bytes": cache.held_predicted_bytes, "measured_bytes": cache.held_measured_bytes},
        "agrees": cache.agrees,
        "growth_bytes_per_token": cache.growth_bytes_per_token,
        "window_bytes": cache.window_bytes,
        "workspace_bytes": cache.workspace_bytes,
        "byte_seconds": cache.byte_seconds,
        "read_share_of_decode_bytes": bill.cache_read_share,
        "read_s_per_decode_step": bill.cache_read_s,
    }


def _api_record(pair: BillPair) -> dict[str, Any]:
    return {
        "provider": pair.cold.provider,
        "model": pair.cold.model,
        "usd": float(pair.cold.total_usd),
        "usd_with_cached_prefix": float(pair.cached.total_usd),
        "cached_tokens": pair.cached.cached_tokens,
        "tier": pair.cold.tier,
        "prices_checked": pair.cold.checked,
    }
