"""Fewer or smaller keys and values per token: GQA, MQA, MLA, cross-layer sharing."""

from windowtax.plan.techniques.base import Pair, State, technique
from windowtax.plan.techniques.change import as_latent, each_attention, need_softmax, reads_all, with_kv_heads
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.shared import SharedAttention
from windowtax.spec.attention.softmax import SoftmaxAttention

_GROUPS = 8


@technique(
    "gqa",
    "Grouped-query attention",
    paths=(2,),
    term="b: KV heads",
    article="5: path 2",
    source="Ainslie et al. 2023, arXiv 2305.13245",
)
def gqa(base: State) -> Pair:
    """Its own groups against one KV head per query head; where it has none, eight query heads per group."""
    first = need_softmax(base.spec, "GQA")[0]
    queries, keys = first.num_query_heads, first.num_kv_heads
    grouped = base
    if keys == queries:
        keys = max(1, queries // _GROUPS)
        grouped = base.of(with_kv_heads(base.spec, lambda kind: max(1, kind.num_query_heads // _GROUPS)))
    plain = base.of(with_kv_heads(base.spec, lambda kind: kind.num_query_heads))
    return Pair(without=plain, with_it=grouped, change=f"{queries} KV heads per layer become {keys}")


@technique(
    "mqa",
    "Multi-query attention",
    paths=(2,),
    term="b: KV heads",
    article="4: shrink the cache at the source",
    source="Shazeer 2019, arXiv 1911.02150",
)
def mqa(base: State) -> Pair:
    """One KV head for all query heads, against the model's own."""
    keys = need_softmax(base.spec, "MQA")[0].num_kv_heads
    one = base.of(with_kv_heads(base.spec, lambda _: 1))
    return Pair(
        without=base,
        with_it=one,
        change=f"{keys} KV heads per layer become 1; tensor-parallel ranks would each keep a copy",
    )


@technique(
    "mla",
    "Multi-head latent attention",
    paths=(2,),
    term="b: one latent row per token",
    article="5: path 2",
    source="DeepSeek-V2, arXiv 2405.04434, section 2.1",
)
def mla(base: State) -> Pair:
    """DeepSeek-V3's rows against the model's own keys and values; or the model's own rows against as many heads."""
    own = [layer.attention for layer in base.spec.layers if isinstance(layer.attention, LatentAttention)]
    if own:
        plain = base.of(each_attention(base.spec, lambda _, kind: _expanded(kind)))
        row = own[0].kv_lora_rank + own[0].qk_rope_head_dim
        return Pair(
            without=plain, with_it=base, change=f"{own[0].num_query_heads} KV heads become a row of {row} numbers"
        )
    first = need_softmax(base.spec, "MLA")[0]
    latent = base.of(each_attention(base.spec, lambda _, kind: as_latent(kind)))
    numbers = first.num_kv_heads * (first.head_dim + first.v_head_dim)
    return Pair(
        without=base,
        with_it=latent,
        change=f"{numbers:,} numbers per token and layer become 512 + 64; tensor-parallel ranks would each keep a copy",
    )


def _expanded(kind: AttentionKind) -> AttentionKind:
    if not isinstance(kind, LatentAttention):
        return kind
    heads = kind.num_query_heads
    return FullAttention(
        num_query_heads=heads,
        num_kv_heads=heads,
        head_dim=kind.qk_nope_head_dim + kind.qk_rope_head_dim,
        v_head_dim=kind.v_head_dim,
        rope=None,
    )


@technique(
    "cross-layer",
    "Cross-layer sharing of keys and values",
    paths=(2,),
    term="capacity only: each layer still reads the shared rows",
    article="5: path 2, b shrinks",
    source="Brandon et al. 2024, arXiv 2405.12981",
)
def cross_layer(base: State) -> Pair:
    """Every second layer reads the keys and values of the one before it; or the model's own sharing against none."""
    own = [layer.attention for layer in base.spec.layers if isinstance(layer.attention, SharedAttention)]
    if own:
        plain = base.of(each_attention(base.spec, lambda _, k: k.source if isinstance(k, SharedAttention) else k))
        return Pair(without=plain, with_it=base, change=f"{len(own)} of {len(base.spec.layers)} layers keep nothing")
    need_softmax(base.spec, "sharing")
    layers = base.spec.layers
    sharers = {
        index
        for index in range(1, len(layers), 2)
        if reads_all(layers[index].attention) and layers[index].attention == layers[index - 1].attention
    }

    def change(index: int, kind: AttentionKind) -> AttentionKind:
        if index not in sharers or not isinstance(kind, SoftmaxAttention):
            return kind
        return SharedAttention(source=kind)

    shared = base.of(each_attention(base.spec, change))
    return Pair(without=base, with_it=shared, change=f"{len(sharers)} of {len(layers)} layers keep nothing, but read")
