"""Formulas of time: FLOPs and bytes of a step against what the hardware can do, through the planner's own roofline."""

import math
from dataclasses import replace
from functools import cache

from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.claims.formula import formula
from windowtax.plan.claims.of_cache import dtype_of, layout, mha_layout
from windowtax.plan.claims.of_cache import model as read_model
from windowtax.plan.equation import Equation
from windowtax.plan.fit import Deployment, Sizing
from windowtax.plan.ring import RingPrefill, ring_prefill
from windowtax.plan.roofline import Rank, prefill_floor
from windowtax.plan.schemes import weight_scheme
from windowtax.plan.weights import WeightBytes
from windowtax.spec.workload import Workload


@cache
def _rank(name: str, device: str, weights: str, dtype: str) -> Rank:
    spec, scheme = read_model(name), weight_scheme(weights, read_model(name))
    return Rank(
        spec=spec,
        hardware=hardware(device),
        scheme=scheme,
        weights=WeightBytes.of(spec, scheme),
        layout=layout(name, dtype),
    )


@cache
def _equation(name: str, device: str, context: float, users: float, weights: str, dtype: str) -> Equation:
    """The core equation on one device, whether or not it holds the model: only its shares and crossings are asked."""
    spec = read_model(name)
    load = Workload(context_tokens=int(context), output_tokens=1, users=int(users))
    scheme, kept = weight_scheme(weights, spec), dtype_of(dtype)
    sizing = Sizing(spec=spec, hardware=hardware(device), workload=load, scheme=scheme, dtype=kept)
    return Equation.of(sizing, Deployment(tensor_parallel=1))


@formula("B", "all weights, scales included: WeightBytes.of(spec, scheme).resident")
def weight_bytes(model: str, weights: str = "bf16") -> float:
    return _rank(model, "h100", weights, "bf16").weights.resident


@formula("", "share of a decode step's bytes that are cache: users x read_bytes / (weights read + users x read_bytes)")
def cache_share(model: str, context: float, users: float = 1, weights: str = "bf16", dtype: str = "bf16") -> float:
    return _equation(model, "h100", context, users, weights, dtype).cache_share()


@formula("", "cache of one sequence over the weights that one decode step reads")
def cache_over_weights(model: str, context: float, weights: str = "bf16") -> float:
    rank = _rank(model, "h100", weights, "bf16")
    return layout(model).bytes_for(int(context)) / rank.weights.read(1)


@formula("", "cache of one sequence over all weights")
def cache_over_all_weights(model: str, context: float, dtype: str = "bf16", weights: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context)) / weight_bytes(model, weights)


@formula("", "cache with one KV head per query head over all weights")
def mha_over_weights(model: str, context: float, weights: str = "bf16") -> float:
    return mha_layout(model, "bf16").bytes_for(int(context)) / weight_bytes(model, weights)


@formula("", "exponent p of n^p for generating n tokens without a cache, each step a prefill of all before it")
def uncached_exponent(model: str, short: float, long: float) -> float:
    def work(tokens: float) -> float:
        spec, steps = read_model(model), 32
        return sum(spec.prefill_flops(int(tokens * step / steps)) for step in range(1, steps + 1)) * tokens / steps

    return math.log(work(long) / work(short)) / math.log(long / short)


@formula("FLOP", "attention FLOPs of one layer for a whole prompt: attention_flops(0, n) / layers, causal")
def layer_attention_flops(model: str, context: float) -> float:
    spec = read_model(model)
    return spec.attention_flops(0, int(context)) / len(spec.layers)


@formula("s", "the least time for the attention of one layer: its causal FLOPs over the device's bf16 peak")
def layer_attention_floor(model: str, context: float, device: str) -> float:
    return layer_attention_flops(model, context) / hardware(device).peak_flops_per_s["bf16"].value


@formula("", "prefill FLOPs of one prompt over those of another: prefill_flops(n) / prefill_flops(m)")
def prefill_ratio(model: str, context: float, other: float) -> float:
    return read_model(model).prefill_flops(int(context)) / read_model(model).prefill_flops(int(other))


@formula("", "attention FLOPs of one prompt over those of another")
def attention_ratio(model: str, context: float, other: float) -> float:
    return read_model(model).attention_flops(0, int(context)) / read_model(model).attention_flops(0, int(other))


@formula("s", "the least time of a prefill: its FLOPs over the peak of that many devices")
def ttft_floor(model: str, context: float, device: str, devices: float = 1, compute: str = "bf16") -> float:
    floor = prefill_floor(read_model(model), hardware(device), int(context), compute_element=compute)
    return floor.seconds / devices


@formula("s", "the same with the output head computed for every token, not for the last alone")
def ttft_floor_with_heads(model: str, context: float, device: str) -> float:
    spec, tokens = read_model(model), int(context)
    flops = spec.prefill_flops(tokens) + (tokens - 1) * spec.head_flops_per_token
    return flops / hardware(device).peak_flops_per_s["bf16"].value


@formula("s", "a prefill in one piece at the device's measured efficiency: Rank.prefill, overlapped")
def ttft(model: str, context: float, device: str, devices: float = 1, chunk: float = 0) -> float:
    rank = _rank(model, device, "bf16", "bf16")
    return rank.prefill(int(context), 0, int(chunk or context)).overlap_s / devices


@formula("", "share of the peak that a prefill in the claimed time would need")
def peak_needed(model: str, context: float, device: str, seconds: float, devices: float = 1) -> float:
    return ttft_floor(model, context, device, devices) / seconds


@formula("", "what prefilling in chunks adds when nothing overlaps: Rank.prefill(chunk).serial_s / in one piece - 1")
def chunk_overhead(model: str, context: float, device: str, chunk: float) -> float:
    rank = _rank(model, device, "bf16", "bf16")
    whole, parts = (rank.prefill(int(context), 0, int(size)) for size in (context, chunk))
    return parts.serial_s / whole.serial_s - 1


@formula("s", "how long a decode step waits behind the last chunk of a prompt: Rank.prefill of that chunk, overlapped")
def chunk_wait(model: str, context: float, device: str, chunk: float) -> float:
    rank = _rank(model, device, "bf16", "bf16")
    return rank.prefill(int(chunk), int(context - chunk), int(chunk)).overlap_s


@formula("", "memory read while decoding n tokens over memory read while prefilling them")
def decode_over_prefill_reads(model: str, tokens: float) -> float:
    rank, count = _rank(model, "h100", "bf16", "bf16"), int(tokens)
    decoded = sum(rank.weights.read(1) + rank.layout.read_bytes(n) for n in range(1, count + 1))
    return decoded / rank.weights.read(count)


@formula("", "FLOPs of decoding n tokens one by one over those of prefilling them at once")
def decode_over_prefill_flops(model: str, tokens: float) -> float:
    spec = read_model(model)
    return sum(spec.decode_flops(n) for n in range(1, int(tokens) + 1)) / spec.prefill_flops(int(tokens))


@formula("", "users at which the share of cache reads in a decode step's bytes passes a limit")
def users_at_share(model: str, context: float, share: float, weights: str = "bf16") -> float:
    read = layout(model).read_bytes(int(context))
    always = _rank(model, "h100", weights, "bf16").weights.read(1)
    return math.ceil(share / (1 - share) * always / read)


@formula("FLOP/B", "a device's FLOP/s over its B/s, both peak")
def ridge(device: str, element: str = "bf16") -> float:
    chip = hardware(device)
    return chip.peak_flops_per_s[element].value / chip.read_bytes_per_s.value


@formula("", "the batch at which computing takes as long as reading weights: Equation.sweet_spot_batch")
def sweet_spot(device: str, model: str, weights: str = "bf16") -> float:
    return _equation(model, device, 8192, 1, weights, "bf16").sweet_spot_batch


@formula("", "the sweet spot with the cache in one dtype over that in another: it has no b in it")
def sweet_spot_moved(device: str, model: str, dtype: str, other_dtype: str) -> float:
    first, second = (_equation(model, device, 8192, 1, "bf16", kept) for kept in (dtype, other_dtype))
    return first.sweet_spot_batch / second.sweet_spot_batch


@formula("", "FLOPs of one decoded token's matrices over the parameters in them; counted_as 2: in multiply-adds")
def flops_per_parameter(model: str, counted_as: float = 1) -> float:
    spec = read_model(model)
    matrices = (weight for weight in spec.weights() if weight.is_matrix and weight.name != "embedding")
    numbers = sum(weight.active_count for weight in matrices)
    return (spec.layer_flops_per_token + spec.head_flops_per_token) / numbers / counted_as


@formula("tokens", "prompt whose attention takes as many FLOPs as all its matrices: Equation.prefill_equal_tokens")
def attention_equals_matrices(model: str) -> float:
    return _equation(model, "h100", 8192, 1, "bf16", "bf16").prefill_equal_tokens or math.inf


@formula("tokens", "the same against all parameters, head and embedding too: N_active / (heads x dim x full layers)")
def attention_equals_parameters(model: str) -> float:
    """Attention of n tokens takes 2 n^2 heads x head dim x full layers FLOPs, half of all pairs; parameters 2 n N."""
    spec, far = read_model(model), 2**24
    return 2 * spec.active_parameters * far**2 / spec.attention_flops(0, far)


@formula("tokens", "context from which a step of so many users reads more cache than weights")
def cache_passes_weights(model: str, users: float, weights: str = "bf16", dtype: str = "bf16") -> float:
    return _equation(model, "h100", 8192, users, weights, dtype).cache_passes_weights_tokens or math.inf


@cache
def _ring(name: str, tokens_per_device: float, device: str, devices: float, link_gb_per_s: float) -> RingPrefill:
    count, chip = int(devices), hardware(device)
    link = link_gb_per_s * 1e9 or (chip.link_bytes_per_s.value if chip.link_bytes_per_s else 0)
    return ring_prefill(replace(_rank(name, device, "bf16", "bf16"), ring=count), link, int(tokens_per_device) * count)


@formula("", "share of a ring prefill spent waiting for keys and values: RingPrefill.waiting_share")
def ring_waiting(model: str, tokens: float, device: str, devices: float, link_gb_per_s: float = 0) -> float:
    return _ring(model, tokens, device, devices, link_gb_per_s).waiting_share


@formula("", "one device's time for the whole prompt over the ring's: Rank.prefill / RingPrefill.bound")
def ring_speedup(model: str, tokens: float, device: str, devices: float, link_gb_per_s: float = 0) -> float:
    whole = int(tokens) * int(devices)
    alone = _rank(model, device, "bf16", "bf16").prefill(whole, 0, whole).overlap_s
    return alone / _ring(model, tokens, device, devices, link_gb_per_s).bound.overlap_s


@formula("", "the same where each device holds one piece in a row, and the causal mask leaves the last with most work")
def ring_speedup_contiguous(model: str, tokens: float, device: str, devices: float) -> float:
    whole = int(tokens) * int(devices)
    alone = _rank(model, device, "bf16", "bf16").prefill(whole, 0, whole).overlap_s
    return alone / _ring(model, tokens, device, devices, 0).contiguous_s
