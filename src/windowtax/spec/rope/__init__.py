"""RoPE and its scalings, without torch: one file per scaling, filed in ROPE_SCALINGS by being there."""

from windowtax.spec.rope.base import ROPE_SCALINGS, Rope, RopeScaling, RopeTable
from windowtax.spec.rope.override import parse_rope_override
from windowtax.spec.rope.read import find_scaling, read_rope, read_rope_by_kind

__all__ = [
    "ROPE_SCALINGS",
    "Rope",
    "RopeScaling",
    "RopeTable",
    "find_scaling",
    "parse_rope_override",
    "read_rope",
    "read_rope_by_kind",
]
