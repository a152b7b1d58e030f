"""The shared matrix of attention kinds: one row per kind or variant; the contract tests and the engine's walk it."""

from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.chunked import ChunkedAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling

ROPE = Rope(10_000.0, 16, NoScaling())

CASES: dict[str, AttentionKind] = {
    "mha": FullAttention(num_query_heads=4, num_kv_heads=4, head_dim=16, v_head_dim=16, rope=ROPE),
    "gqa": FullAttention(num_query_heads=4, num_kv_heads=2, head_dim=16, v_head_dim=16, rope=ROPE),
    "mqa": FullAttention(num_query_heads=4, num_kv_heads=1, head_dim=16, v_head_dim=16, rope=ROPE),
    "narrow values, no positions": FullAttention(
        num_query_heads=4, num_kv_heads=2, head_dim=24, v_head_dim=16, rope=None
    ),
    "sliding": SlidingAttention(
        num_query_heads=4, num_kv_heads=2, head_dim=16, v_head_dim=16, rope=ROPE, window_tokens=13
    ),
    "sliding, capped scores": SlidingAttention(
        num_query_heads=4, num_kv_heads=2, head_dim=16, v_head_dim=16, rope=ROPE, window_tokens=16, softcap=20.0
    ),
    "chunked": ChunkedAttention(
        num_query_heads=4, num_kv_heads=2, head_dim=16, v_head_dim=16, rope=ROPE, chunk_tokens=16
    ),
}
