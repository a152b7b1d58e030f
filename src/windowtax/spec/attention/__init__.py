"""Attention kinds, one file each: what a layer stores, its weights, its FLOPs, and which keys a query sees."""
