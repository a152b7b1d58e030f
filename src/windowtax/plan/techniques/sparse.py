"""Everything is kept, a part is read: DSA, NSA, MoBA, Quest."""

from collections.abc import Callable
from dataclasses import replace

from windowtax.plan.techniques.base import Pair, State, technique
from windowtax.plan.techniques.change import (
    MLA_QUERY_RANK,
    as_latent,
    each_attention,
    need_softmax,
    reads_all,
    softmax_fields,
)
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.block_topk import MEAN, MIN_MAX, BlockTopKAttention
from windowtax.spec.attention.dsa import SparseLatentAttention
from windowtax.spec.attention.indexer import Indexer
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.attention.nsa import NativeSparseAttention
from windowtax.spec.attention.softmax import SoftmaxAttention

_ARTICLE = '5: "paths 1 + 2, effective L shrinks"'
_TOP_K = 2048


@technique(
    "dsa",
    "DeepSeek sparse attention (top-k by an indexer)",
    paths=(1, 2),
    term="L read: k rows and the index; memory grows",
    article=_ARTICLE,
    source="DeepSeek-V3.2, arXiv 2512.02556",
)
def dsa(base: State) -> Pair:
    """2,048 chosen latent rows against all of them; a model without MLA gets it in both states."""
    latent = base.of(each_attention(base.spec, lambda _, kind: _dense(as_latent(kind))))
    sparse = latent.of(each_attention(latent.spec, lambda _, kind: _chosen(kind)))
    if latent.spec == sparse.spec:
        need_softmax(base.spec, "DSA")
    return Pair(
        without=latent, with_it=sparse, change=f"of all latent rows {_TOP_K:,} are read, and 128 numbers of each"
    )


def _dense(kind: AttentionKind) -> AttentionKind:
    return LatentAttention(**_latent_fields(kind)) if isinstance(kind, SparseLatentAttention) else kind  # pyright: ignore


def _chosen(kind: AttentionKind) -> AttentionKind:
    if not isinstance(kind, LatentAttention):
        return kind
    indexer = Indexer(num_heads=64, head_dim=128, query_rank=kind.q_lora_rank or MLA_QUERY_RANK)
    return SparseLatentAttention(**_latent_fields(kind), top_k=_TOP_K, indexer=indexer)  # pyright: ignore


def _latent_fields(kind: LatentAttention) -> dict[str, object]:
    names = ("num_query_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "q_lora_rank")
    return {name: getattr(kind, name) for name in (*names, "rope", "bias")}


def _with(base: State, what: str, make: Callable[[dict[str, object]], AttentionKind]) -> State:
    need_softmax(base.spec, what)

    def change(_: int, kind: AttentionKind) -> AttentionKind:
        if not isinstance(kind, SoftmaxAttention) or not reads_all(kind):
            return kind
        return make(softmax_fields(kind))

    return base.of(each_attention(base.spec, change))


@technique(
    "nsa",
    "Native sparse attention",
    paths=(1, 2),
    term="L read: compressed, selected and near; memory grows",
    article="1: a sixth move; " + _ARTICLE,
    source="Yuan et al. 2025, arXiv 2502.11089, section 4.1",
)
def nsa(base: State) -> Pair:
    """The paper's sizes: 32-token summaries every 16, 16 blocks of 64 tokens, and the last 512."""
    sparse = _with(base, "NSA", lambda f: NativeSparseAttention(**f))  # pyright: ignore[reportArgumentType]
    return Pair(
        without=base, with_it=sparse, change="1,024 chosen tokens, the last 512, and one summary per 16 are read"
    )


@technique(
    "moba",
    "Mixture of block attention",
    paths=(1, 2),
    term="L read: 3 blocks of 2,048; memory grows a little",
    article="1: block-level routing; " + _ARTICLE,
    source="Lu et al. 2025, arXiv 2502.13189",
)
def moba(base: State) -> Pair:
    """The three best of the blocks of 2,048 tokens, chosen by the means of their keys."""
    sparse = _with(
        base,
        "MoBA",
        lambda f: BlockTopKAttention(**f, block_tokens=2048, top_k_blocks=3, summary=MEAN),  # pyright: ignore
    )
    return Pair(without=base, with_it=sparse, change="6,144 chosen tokens and one mean key per 2,048 are read")


@technique(
    "quest",
    "Quest: the best pages of the cache",
    paths=(2,),
    term="L read: the best pages and their bounds; memory grows by an eighth",
    article=_ARTICLE,
    source="Tang et al. 2024, arXiv 2406.10774",
)
def quest(base: State) -> Pair:
    """4,096 tokens in the best pages of 16, chosen by the bounds of their keys. Prompts are read in full."""
    sparse = _with(
        base,
        "Quest",
        lambda f: BlockTopKAttention(**f, block_tokens=16, top_k_blocks=256, summary=MIN_MAX),  # pyright: ignore
    )
    sparse = replace(sparse, prompt_spec=base.spec)
    return Pair(without=base, with_it=sparse, change="4,096 chosen tokens and two bounds per 16 are read")
