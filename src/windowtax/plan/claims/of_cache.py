"""Formulas over the ledger: every byte comes from a CacheLayout, of a catalog model or of a shape that a text gives."""

from dataclasses import replace
from functools import cache

from windowtax.base.errors import BadInput
from windowtax.catalog.read import read_model
from windowtax.plan.claims.formula import formula
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.cache import CacheLayout
from windowtax.spec.dtypes import CACHE_DTYPES, CacheDtype, ElementType, cache_dtype
from windowtax.spec.model import ModelSpec


def dtype_of(name: str) -> CacheDtype:
    """A cache dtype by name; "4-bit" and the like stand for that many bits per number and no scales at all."""
    bits, _, word = name.partition("-")
    if word == "bit" and name not in CACHE_DTYPES:
        return CacheDtype(name, ElementType(name, int(bits)), None, f"{bits} bits per number, no scales")
    return cache_dtype(name)


@cache
def model(name: str) -> ModelSpec:
    """A catalog model, read once."""
    return read_model(name)


@cache
def layout(name: str, dtype: str = "bf16") -> CacheLayout:
    """A catalog model's ledger in that dtype."""
    return model(name).layout(dtype_of(dtype))


def shape(layers: float, kv_heads: float, head_dim: float, dtype: str) -> CacheLayout:
    """The ledger of so many full-attention layers of one shape."""
    kind = FullAttention(
        num_query_heads=int(kv_heads),
        num_kv_heads=int(kv_heads),
        head_dim=int(head_dim),
        v_head_dim=int(head_dim),
        rope=None,
    )
    return CacheLayout.of([kind.caches(dtype_of(dtype))] * int(layers))


@formula("B", "bytes that each further token costs: CacheLayout.growth")
def cache_per_token(model: str, dtype: str = "bf16") -> float:
    return float(layout(model, dtype).growth)


@formula("B", "the same while multi-token prediction drafts, its layer's cache counted: ModelSpec.with_drafts")
def cache_per_token_with_mtp(model: str, dtype: str = "bf16") -> float:
    return float(read_model(model).with_drafts().layout(dtype_of(dtype)).growth)


@cache
def served_layout(name: str, dtype: str) -> CacheLayout:
    """In blocks of 256 tokens, vLLM's for DeepSeek-V4."""
    return model(name).layout(dtype_of(dtype), 256)


@formula("B", "bytes per token as served: whole blocks of 256 tokens, pages padded, windows and workspace left out")
def served_per_token(model: str, dtype: str) -> float:
    ledger = served_layout(model, dtype)
    growing = [index for index, group in enumerate(ledger.groups) if group.cache.grows]
    return sum(ledger.block_bytes(index) / ledger.groups[index].cache.block_tokens(256) for index in growing)


@formula("B", "the same times the context")
def served_total(model: str, context: float, dtype: str) -> float:
    return served_per_token(model, dtype) * context


@formula("", "one model's bytes as served over another's")
def served_ratio(model: str, other: str, dtype: str, other_dtype: str) -> float:
    return served_per_token(model, dtype) / served_per_token(other, other_dtype)


@formula("B", "bytes of one sequence: CacheLayout.bytes_for(context)")
def cache_total(model: str, context: float, dtype: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context))


@formula("B", "bytes of one sequence without its fixed states: bytes_for(context) - state_bytes")
def cache_without_state(model: str, context: float, dtype: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context)) - layout(model, dtype).state_bytes


@formula("B", "bytes of one sequence divided by its tokens: bytes_for(context) / context")
def cache_average(model: str, context: float, dtype: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context)) / context


@formula("B", "bytes of all windows when full: CacheLayout.window_bytes")
def cache_windows(model: str, dtype: str = "bf16") -> float:
    return layout(model, dtype).window_bytes


@formula("B", "bytes of one token in one layer: that layer's LayerCache.token_bytes")
def layer_per_token(model: str, layer: float = 0, dtype: str = "bf16") -> float:
    return layout_of_layer(model, layer, dtype).bytes_for(1)


def layout_of_layer(name: str, layer: float, dtype: str) -> CacheLayout:
    """The ledger of one layer alone."""
    return CacheLayout.of([model(name).layers[int(layer)].attention.caches(dtype_of(dtype))])


@formula("", "bytes of one model's sequence over another's, at the same context")
def cache_ratio(
    model: str, other: str, context: float, dtype: str = "bf16", other_dtype: str = "", states: bool = True
) -> float:
    count = cache_total if states else cache_without_state
    return count(model, context, dtype) / count(other, context, other_dtype or dtype)


@formula("", "bytes of a further token in one model over those in another")
def growth_ratio(model: str, other: str, dtype: str = "bf16", other_dtype: str = "") -> float:
    return cache_per_token(model, dtype) / cache_per_token(other, other_dtype or dtype)


@formula("", "1 - growth of one model / growth of another")
def growth_saved(model: str, other: str, dtype: str = "bf16", other_dtype: str = "") -> float:
    return 1 - growth_ratio(model, other, dtype, other_dtype)


@formula("B", "the same model with one KV head per query head: LayerCache of num_kv_heads = num_query_heads")
def mha_per_token(model: str, dtype: str = "bf16") -> float:
    return mha_layout(model, dtype).growth_bytes_per_token


@formula("B", "the same with a context: bytes_for(context) of the model with as many KV heads as query heads")
def mha_total(model: str, context: float, dtype: str = "bf16") -> float:
    return mha_layout(model, dtype).bytes_for(int(context))


@formula("", "1 - growth of the model / growth of the same model with one KV head per query head")
def saved_against_mha(model: str, dtype: str = "bf16") -> float:
    return 1 - cache_per_token(model, dtype) / mha_per_token(model, dtype)


@formula("", "1 - growth / growth of as many layers of multi-head attention whose keys and values have one width")
def saved_against_square_mha(model: str, heads: float, head_dim: float) -> float:
    return 1 - cache_per_token(model) / shape_per_token(len(read_model(model).layers), heads, head_dim)


@formula("", "growth with one KV head per query head / growth of the model")
def mha_over_model(model: str, dtype: str = "bf16") -> float:
    return mha_per_token(model, dtype) / cache_per_token(model, dtype)


@cache
def mha_layout(name: str, dtype: str) -> CacheLayout:
    """The ledger of the same model with one key and one value head per query head."""
    kinds = (_as_mha(layer.attention) for layer in model(name).layers)
    return CacheLayout.of(kind.caches(dtype_of(dtype)) for kind in kinds)


def _as_mha(kind: AttentionKind) -> AttentionKind:
    if isinstance(kind, SoftmaxAttention):
        return replace(kind, num_kv_heads=kind.num_query_heads)
    if not isinstance(kind, LatentAttention):
        raise BadInput(f"{kind.kind} attention has no multi-head form here.")
    return FullAttention(
        num_query_heads=kind.num_query_heads,
        num_kv_heads=kind.num_query_heads,
        head_dim=kind.qk_nope_head_dim + kind.qk_rope_head_dim,
        v_head_dim=kind.v_head_dim,
        rope=None,
    )


@formula("B", "2 x layers x KV heads x head dim x bytes: CacheLayout of full-attention layers of that shape")
def shape_per_token(layers: float, kv_heads: float, head_dim: float, dtype: str = "bf16") -> float:
    return shape(layers, kv_heads, head_dim, dtype).growth_bytes_per_token


@formula("B", "the same times the context: CacheLayout of that shape, bytes_for(context)")
def shape_total(layers: float, kv_heads: float, head_dim: float, context: float, dtype: str = "bf16") -> float:
    return shape(layers, kv_heads, head_dim, dtype).bytes_for(int(context))


@formula("", "how many times fewer bytes the second dtype takes")
def dtype_ratio(wide: str, narrow: str, head_dim: float = 128) -> float:
    return dtype_of(wide).vector_bytes(int(head_dim)) / dtype_of(narrow).vector_bytes(int(head_dim))


@formula("B", "bytes of one number, its share of the scale included")
def dtype_bytes_per_number(dtype: str, head_dim: float = 128) -> float:
    return dtype_of(dtype).vector_bytes(int(head_dim)) / head_dim


@formula("", "how the bytes read in a decode step grow when the context does: read_bytes(times x n) / read_bytes(n)")
def read_growth(model: str, context: float, times: float = 2) -> float:
    ledger = layout(model)
    return ledger.read_bytes(int(context * times)) / ledger.read_bytes(int(context))


@formula("tokens", "window of the first layer that has one")
def window_of(model: str) -> float:
    return next(group.cache.window or group.cache.chunk or 0 for group in layout(model).groups if not group.cache.grows)


@formula("B", "bytes of one layer's cache: bytes_for(context) of that layer alone")
def layer_total(model: str, context: float, layer: float = 0, dtype: str = "bf16") -> float:
    return layout_of_layer(model, layer, dtype).bytes_for(int(context))


@formula("", "how a sequence's bytes grow when its context does: bytes_for(times x n) / bytes_for(n)")
def cache_growth(model: str, context: float, times: float, dtype: str = "bf16") -> float:
    return layout(model, dtype).bytes_for(int(context * times)) / layout(model, dtype).bytes_for(int(context))


@formula("", "bytes of so many KV heads over bytes of fewer")
def shape_ratio(kv_heads: float, other_kv_heads: float, head_dim: float, dtype: str = "bf16") -> float:
    wide, narrow = (shape(1, heads, head_dim, dtype).bytes_for(1) for heads in (kv_heads, other_kv_heads))
    return wide / narrow


@formula("", "bytes of so many layers over bytes of fewer")
def shape_layers_ratio(
    layers: float, other_layers: float, kv_heads: float, head_dim: float, dtype: str = "bf16"
) -> float:
    wide, narrow = (shape(count, kv_heads, head_dim, dtype).bytes_for(1) for count in (layers, other_layers))
    return wide / narrow


@formula("", "bytes of one token in the first layer of one model over those in another's")
def layer_ratio(model: str, other: str, dtype: str = "bf16") -> float:
    return layer_per_token(model, 0, dtype) / layer_per_token(other, 0, dtype)


@formula("", "layers whose cache grows with the context")
def growing_layers(model: str) -> float:
    return len({layer for group in layout(model).groups if group.cache.grows for layer in group.layers})


@formula("", "share of a paged cache that is allocated and unused: half a block of each group over the sequence")
def paging_waste(model: str, context: float, block_size: float = 16) -> float:
    ledger = model_layout_of_block(model, int(block_size))
    wasted = sum(ledger.block_bytes(group) / 2 for group in range(len(ledger.groups)))
    return wasted / ledger.bytes_for(int(context))


def model_layout_of_block(name: str, block_size: int) -> CacheLayout:
    """The ledger in bf16 with blocks of so many tokens."""
    return model(name).layout(cache_dtype("bf16"), block_size)
