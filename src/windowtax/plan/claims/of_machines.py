"""Formulas of machines: what a device holds, how many of them a load takes, what they cost."""

import math

from windowtax.base.errors import BadInput
from windowtax.catalog.hardware_catalog import hardware
from windowtax.plan.claims.formula import formula
from windowtax.plan.claims.of_cache import layout, shape
from windowtax.plan.claims.of_cache import model as read_model
from windowtax.plan.claims.of_time import weight_bytes


@formula("B", "memory of one device, from the hardware catalog")
def device_memory(device: str) -> float:
    return hardware(device).memory_bytes.value


@formula("", "devices in one server")
def devices_per_server(device: str) -> float:
    return hardware(device).node_size


@formula("", "bytes of one sequence over the memory of one device")
def device_share(model: str, context: float, device: str, dtype: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context)) / device_memory(device)


@formula("", "weights over the memory of one device")
def weights_share(model: str, weights: str, device: str) -> float:
    return weight_bytes(model, weights) / device_memory(device)


@formula("", "devices by capacity alone: (cache + weights) / memory, rounded up")
def devices_by_capacity(model: str, context: float, weights: str, device: str, dtype: str = "bf16") -> float:
    needed = layout(model, dtype).bytes_for(int(context)) + weight_bytes(model, weights)
    return math.ceil(needed / hardware(device).usable_bytes)


@formula("", "the fewest devices that hold it and split the heads evenly, as ModelSpec.shard allows")
def devices_by_heads(model: str, context: float, weights: str, device: str, dtype: str = "bf16") -> float:
    count = int(devices_by_capacity(model, context, weights, device, dtype))
    while True:
        try:
            read_model(model).shard(count)
        except BadInput:
            count += 1
        else:
            return count


@formula("", "(cache of a stated shape + stated weights) / (stated share of a device), rounded up")
def devices_of_shape(
    layers: float, kv_heads: float, head_dim: float, context: float, dtype: str, weights_gb: float, device_gb: float,
    usable: float = 1,
) -> float:  # fmt: skip
    needed = shape(layers, kv_heads, head_dim, dtype).bytes_for(int(context)) + weights_gb * 1e9
    return math.ceil(needed / (device_gb * 1e9 * usable))


@formula("B", "weights + cache + stated activations")
def memory_budget(model: str, context: float, activations_gb: float) -> float:
    return weight_bytes(model) + layout(model).bytes_for(int(context)) + activations_gb * 1e9


@formula("USD/h", "rent of so many devices, from the hardware catalog")
def rent(device: str, devices: float = 1) -> float:
    price = hardware(device).usd_per_hour
    return math.nan if price is None else price.value * devices


@formula("", "B/s between the devices of a server over B/s of the network card that each device has")
def link_over_network(device: str, network_gbit_per_s: float) -> float:
    link = hardware(device).link_bytes_per_s
    return math.nan if link is None else link.value / (network_gbit_per_s * 1e9 / 8)
