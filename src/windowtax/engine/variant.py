"""Requests whose keys turn by different RoPE tables share no prefix, however alike their tokens are.

LongRoPE and dynamic NTK choose a table by the longest that a request can become (docs/decisions/0003).
"""

from blake3 import blake3

from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.model import ModelSpec


def salt_with_table(spec: ModelSpec, max_tokens: int, salt: str) -> str:
    """The salt of a request that can become so long: as it is, unless short requests turn by another table."""
    attention = [layer.attention for layer in spec.layers]
    ropes = {one.rope for one in attention if isinstance(one, SoftmaxAttention) and one.rope is not None}
    tables = sorted(repr(rope.table(max_tokens)) for rope in ropes if rope.table(max_tokens) != rope.table(1))
    return f"rope {blake3(repr(tables).encode()).hexdigest(16)} {salt}" if tables else salt
