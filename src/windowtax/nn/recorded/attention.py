"""Softmax attention on tape: full, sliding, chunked, sinks + window, top-k blocks. Visibility is data to the kernels,
so the kinds differ in numbers only."""

from collections.abc import Sequence
from dataclasses import dataclass

from windowtax.nn.recorded.tape import Tape
from windowtax.ops.native import Element, Ending
from windowtax.ops.packed import PackedMatrix
from windowtax.ops.rows import Floats
from windowtax.spec.attention.block_topk import MIN_MAX, BlockTopKAttention
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.cache import CacheLayout, LayerCache, LayerGroup
from windowtax.store.planes import PlaneStore

RECORDED_KINDS = ("full", "sliding", "chunked", "sinks_window", "block_topk")
BLOCK_SIZE = 32
"""Tokens per block in native code (native/src/kernels.h)."""

_ELEMENTS = {
    "fp32": Element.F32,
    "fp16": Element.F16,
    "bf16": Element.BF16,
    "fp8": Element.F8,
    "int8": Element.I8,
    "int8_hadamard": Element.I8,
    "int4_hadamard": Element.I4,
}
_SCALES = {"int8": ("fp32", ()), "int8_hadamard": ("fp32", ()), "int4_hadamard": ("fp16", (2,))}
"""Elements that have scales per token and head: in what, and how many if not one."""
_NORMS = {QkNorm.NONE: 0, QkNorm.PER_HEAD: 1, QkNorm.WHOLE: 2}


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """qkv: matrices whose rows are q, k and v, one after the other."""

    qkv: Sequence[PackedMatrix]
    qkv_bias: Floats | None
    output: PackedMatrix
    output_bias: Floats | None
    q_norm: Floats | None
    k_norm: Floats | None


def record_attention(
    tape: Tape,
    spec: SoftmaxAttention,
    attention: int,
    weights: AttentionWeights,
    *,
    x: int,
    norm: Floats,
    eps: float,
    out: int,
    ending: Ending,
) -> None:
    """Records projections, dressing, the write into the cache, attention and the output projection."""
    heads = spec.num_query_heads + spec.num_kv_heads
    qkv = tape.buffer("qkv", heads * spec.head_dim + spec.num_kv_heads * spec.v_head_dim)
    mixed = tape.buffer("mixed", spec.num_query_heads * spec.v_head_dim)
    tape.multiply(x, weights.qkv, qkv, norm=norm, eps=eps, bias=weights.qkv_bias)
    tape.program.heads(
        attention,
        _NORMS[spec.qk_norm],
        [] if weights.q_norm is None else weights.q_norm.tolist(),
        [] if weights.k_norm is None else weights.k_norm.tolist(),
        eps,
        tape.rotation(spec.rope),
        qkv,
    )
    tape.program.attend(attention, qkv, mixed)
    tape.multiply(mixed, [weights.output], out, bias=weights.output_bias, ending=ending)


def bind_attention(tape: Tape, spec: SoftmaxAttention, layer: int, store: PlaneStore) -> int:
    """The layer's attention with the addresses of its planes."""
    found = tape.module.Attention()
    found.query_heads, found.kv_heads = spec.num_query_heads, spec.num_kv_heads
    found.k_dim, found.v_dim = spec.head_dim, spec.v_head_dim
    found.scale, found.softcap = spec.softmax_scale, spec.softcap or 0.0
    found.window, found.chunk = spec.window or 0, spec.chunk or 0
    groups = Groups(store, layer)
    for index in groups.having("k"):
        _add_part(found, groups, index)
        found.turned_keys = any(plane.element == "int8_hadamard" for plane in groups.group(index).cache.planes)
    if isinstance(spec, BlockTopKAttention):
        (index,) = groups.having("block_min")
        low, high = (groups.place(index, name) for name in ("block_min", "block_max"))
        found.set_top_blocks(spec.top_k_blocks, index, low, high)
    return tape.program.attention(found)


class Groups:
    """The layer groups of a store in which one layer is."""

    def __init__(self, store: PlaneStore, layer: int) -> None:
        self._store = store
        self._layer = layer

    def having(self, plane: str) -> list[int]:
        """The groups that keep a plane of that name for this layer, sinks before windows."""
        return self._store.groups_of(self._layer, plane)

    def group(self, index: int) -> LayerGroup:
        """The group itself."""
        return self._store.layout.groups[index]

    def place(self, index: int, plane: str) -> list[int]:
        """[address of the layer's first block, bytes per block] of a plane; empty where the group has none."""
        found = self._store.planes[index].get(plane)
        if found is None:
            return []
        row = self.group(index).layers.index(self._layer)
        return [found[row].ctypes.data, found.strides[1]]


def _add_part(found, groups: Groups, index: int) -> None:
    cache = groups.group(index).cache
    planes = {plane.name: plane for plane in cache.planes}
    by_channel = _by_channel(cache)
    tail_group = groups.having("k_tail")[0] if by_channel else -1
    found.add_part(
        int(Element.I4_CHANNEL if by_channel else _ELEMENTS[planes["k"].element]),
        int(_ELEMENTS[planes["v"].element]),
        index,
        groups.place(index, "k"),
        groups.place(index, "v"),
        groups.place(index, "k_scale"),
        groups.place(index, "v_scale"),
        cache.skip_first,
        -1 if cache.keep_first is None else cache.keep_first,
        cache.window is not None,
        index if by_channel else -1,
        tail_group,
        groups.place(tail_group, "k_tail") if by_channel else [],
    )


def _by_channel(cache: LayerCache) -> bool:
    return any(plane.name == "k_scale" and plane.span > 1 for plane in cache.planes)


def why_not_recorded(spec: SoftmaxAttention, layout: CacheLayout, layer: int) -> str | None:
    """Why native code does not compute this attention with this cache; None where it does."""
    if layout.block_size != BLOCK_SIZE:
        return f"native blocks have {BLOCK_SIZE} tokens, not {layout.block_size}"
    if spec.head_dim % 4 or spec.v_head_dim % 4:
        return f"native code has no heads of {spec.head_dim} and {spec.v_head_dim} numbers"
    if spec.qk_norm not in _NORMS or spec.output_gate or spec.head_gate or spec.sink_logits or spec.keys_are_values:
        return "native code has no attention of this form yet"
    if isinstance(spec, BlockTopKAttention) and (spec.block_tokens != BLOCK_SIZE or spec.summary != MIN_MAX):
        return f"native code chooses among blocks of {BLOCK_SIZE} tokens by their minimum and maximum"
    parts = [group.cache for group in layout.groups if layer in group.layers]
    if sum(_by_channel(cache) for cache in parts) > 1:
        return "native code has no keys with scales per channel in more than one part"
    if spec.chunk is not None and spec.chunk % BLOCK_SIZE and any(map(_by_channel, parts)):
        return f"native code has no keys with scales per channel in chunks that are no multiple of {BLOCK_SIZE} tokens"
    return next((reason for cache in parts if (reason := _why_not_kept(cache)) is not None), None)


def _why_not_kept(cache: LayerCache) -> str | None:
    planes = {plane.name: plane for plane in cache.planes}
    for name in ("k", "v") if "k" in planes else ():
        if name == "k" and _by_channel(cache):
            continue
        element, scale = planes[name].element, planes.get(f"{name}_scale")
        scales = None if scale is None else (scale.element, scale.shape[1:])
        if element not in _ELEMENTS or scales != _SCALES.get(element):
            return f"native code has no cache of {element} with its scales"
        if name == "k" and element == "int4_hadamard":
            return "native code has no keys in 4 bits with one scale per token"
    return None
