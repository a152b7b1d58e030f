"""The data plane of the KV cache: planes on the device."""
