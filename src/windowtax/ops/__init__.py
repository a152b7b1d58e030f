"""Kernels and their references: tensors in, tensors out, no policy."""
