"""The shared matrix of attention kinds: one row per kind or variant; the contract tests and the engine's walk it.

Sizes are small and odd, so that windows, strides and blocks never fall together by chance.
"""

from typing import Any

from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.block_index import BlockIndexAttention
from windowtax.spec.attention.block_topk import MEAN, BlockTopKAttention
from windowtax.spec.attention.chunked import ChunkedAttention
from windowtax.spec.attention.compressed import CompressedAttention
from windowtax.spec.attention.dsa import SparseLatentAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.gated_delta import GatedDelta
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.kda import KimiDelta
from windowtax.spec.attention.linear import LinearAttention
from windowtax.spec.attention.mamba1 import Mamba1
from windowtax.spec.attention.mamba2 import Mamba2
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.none import NoAttention
from windowtax.spec.attention.nsa import NativeSparseAttention
from windowtax.spec.attention.segment import SegmentAttention
from windowtax.spec.attention.shared import SharedAttention
from windowtax.spec.attention.short_conv import ShortConv
from windowtax.spec.attention.sinks_window import SinksWindowAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.rope.base import Rope
from windowtax.spec.rope.none import NoScaling

ROPE = Rope(10_000.0, 16, NoScaling())

HEADS: dict[str, Any] = {"num_query_heads": 4, "num_kv_heads": 2, "head_dim": 16, "v_head_dim": 16, "rope": ROPE}
LATENT: dict[str, Any] = {
    "num_query_heads": 4,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 12,
    "q_lora_rank": 24,
    "rope": ROPE,
}
INDEX = Indexer(num_heads=2, head_dim=32, query_rank=24)
COMPRESSED: dict[str, Any] = {
    "num_query_heads": 4,
    "head_dim": 64,
    "rope_dim": 16,
    "rope": ROPE,
    "q_lora_rank": 24,
    "output_groups": 2,
    "o_lora_rank": 8,
    "window_tokens": 13,
}

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
    "sinks and window": SinksWindowAttention(**HEADS, sink_tokens=3, window_tokens=11),
    "window without sinks": SinksWindowAttention(**HEADS, sink_tokens=0, window_tokens=11),
    "segments, memory longer than a segment": SegmentAttention(
        hidden_size=32, num_heads=4, head_dim=8, segment_tokens=7, memory_tokens=17
    ),
    "segments, memory shorter": SegmentAttention(
        hidden_size=32, num_heads=4, head_dim=8, segment_tokens=12, memory_tokens=5
    ),
    "shared": SharedAttention(source=SlidingAttention(**HEADS, window_tokens=13)),
    "quest": BlockTopKAttention(**HEADS, block_tokens=8, top_k_blocks=3),
    "moba": BlockTopKAttention(**HEADS, block_tokens=16, top_k_blocks=2, summary=MEAN),
    "blocks by an index": BlockIndexAttention(**HEADS, block_tokens=8, top_k_blocks=3, index_heads=2, index_dim=32),
    "nsa": NativeSparseAttention(
        **HEADS, compress_tokens=8, compress_stride=4, select_block_tokens=4, select_blocks=3, window_tokens=9
    ),
    "mla": LatentAttention(**LATENT),
    "mla, plain queries, no positions": LatentAttention(**{**LATENT, "q_lora_rank": None, "rope": None}),
    "dsa": SparseLatentAttention(**LATENT, top_k=21, indexer=INDEX),
    "dsa, index of an earlier layer": SparseLatentAttention(**LATENT, top_k=21, indexer=None),
    "csa": CompressedAttention(**COMPRESSED, stride=4, overlap=True, indexer=INDEX, top_k=5),
    "hca": CompressedAttention(**COMPRESSED, stride=12),
    "v4 without compression": CompressedAttention(**COMPRESSED, stride=0),
    "gated delta": GatedDelta(num_key_heads=2, num_value_heads=4, key_head_dim=8, value_head_dim=12),
    "kda": KimiDelta(num_heads=4, head_dim=8, gate_rank=8),
    "mamba 1": Mamba1(channels=32, state_dim=8, dt_rank=4, inner_norms=True),
    "mamba 2": Mamba2(num_heads=4, head_dim=8, state_dim=16, num_groups=2),
    "lightning": LinearAttention(num_heads=4, head_dim=8, decay=True, output_gate=True, output_norm=True),
    "linear, state in bf16": LinearAttention(num_heads=4, head_dim=8, state_element="bf16"),
    "short convolution": ShortConv(channels=32, conv_kernel=3),
    "none": NoAttention(),
}
