"""The control plane of the KV cache: which blocks a sequence holds. No tensors here."""
