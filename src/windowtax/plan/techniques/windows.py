"""Layers that keep less than the whole context: windows, sinks, states, and tokens dropped from the cache."""

from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.plan.techniques.base import Pair, State, technique
from windowtax.plan.techniques.change import as_full, each_attention, need_softmax, reads_all, softmax_fields
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.gated_delta import GatedDelta
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.attention.sinks_window import SinksWindowAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.attention.softmax import SoftmaxAttention

_LOCAL_OF, _LOCAL_TOKENS = 6, 1024
_SINKS, _WINDOW = 4, 4096
_LINEAR_OF, _STATE_DIM = 4, 128
_KEPT = 4096


@technique(
    "sliding-window",
    "Sliding window in most layers",
    paths=(1, 2),
    term="L: full layers only",
    article="3 and 4; not in 5",
    source="Jiang et al. 2023, arXiv 2310.06825; 5 local to 1 global: Gemma 3, arXiv 2503.19786",
)
def sliding_window(base: State) -> Pair:
    """The model's own windows against full attention; where it has none, Gemma 3's five local layers to a global
    one."""
    plain = base.of(each_attention(base.spec, lambda _, kind: as_full(kind)))
    if plain.spec != base.spec:
        count = sum(a.attention != b.attention for a, b in zip(plain.spec.layers, base.spec.layers, strict=True))
        return Pair(without=plain, with_it=base, change=f"{count} of {len(base.spec.layers)} layers keep a window")
    need_softmax(base.spec, "a window")

    def change(index: int, kind: AttentionKind) -> AttentionKind:
        local = isinstance(kind, SoftmaxAttention) and (index + 1) % _LOCAL_OF != 0
        return SlidingAttention(**softmax_fields(kind), window_tokens=_LOCAL_TOKENS) if local else kind  # pyright: ignore

    windowed = base.of(each_attention(base.spec, change))
    return Pair(without=base, with_it=windowed, change=f"5 of 6 layers keep the last {_LOCAL_TOKENS:,} tokens")


def _sunk(base: State, sinks: int, window: int) -> State:
    def change(_: int, kind: AttentionKind) -> AttentionKind:
        if not isinstance(kind, SoftmaxAttention) or not reads_all(kind):
            return kind
        return SinksWindowAttention(**softmax_fields(kind), sink_tokens=sinks, window_tokens=window)  # pyright: ignore

    return base.of(each_attention(base.spec, change))


@technique(
    "sinks",
    "Attention sinks and a window (StreamingLLM)",
    paths=(1, 2),
    term="L: becomes a constant; what lies between is lost",
    article="4: forgetting intelligently",
    source="Xiao et al. 2024, arXiv 2309.17453",
)
def sinks(base: State) -> Pair:
    """The first 4 tokens and the last 4,096 in every layer that kept all."""
    need_softmax(base.spec, "sinks and a window")
    change = f"each layer keeps the first {_SINKS} and the last {_WINDOW:,} tokens"
    return Pair(without=base, with_it=_sunk(base, _SINKS, _WINDOW), change=change)


@technique(
    "kv-selection",
    "Dropping prompt tokens from the cache (SnapKV)",
    paths=(2,),
    term="L of decode: tokens kept; lossy",
    source="Li et al. 2024, arXiv 2404.14469",
)
def kv_selection(base: State) -> Pair:
    """Decode holds and reads 4,096 chosen tokens. The prompt is read in full first, so its time is that of the base."""
    need_softmax(base.spec, "a selection")
    if base.sizing.workload.context_tokens <= _KEPT:
        raise BadInput(
            f"A context of {base.sizing.workload.context_tokens:,} tokens is kept whole.", "Take a longer one."
        )
    kept = replace(_sunk(base, 0, _KEPT), prompt_spec=base.spec)
    return Pair(without=base, with_it=kept, change=f"{_KEPT:,} tokens per layer are kept after the prompt")


@technique(
    "linear-hybrid",
    "Linear attention in most layers (Gated DeltaNet)",
    paths=(1, 2),
    term="L: full layers only; a state instead",
    article="1: hybrid architectures; not in 5",
    source="Yang et al. 2024, arXiv 2412.06464; 3 to 1: Qwen3-Next",
)
def linear_hybrid(base: State) -> Pair:
    """The model's own states against full attention of its other layers; else three of four layers become states."""
    own = [layer.attention for layer in base.spec.layers if isinstance(layer.attention, RecurrentKind)]
    full = need_softmax(base.spec, "a state")[0]
    if own:
        plain = base.of(each_attention(base.spec, lambda _, kind: full if isinstance(kind, RecurrentKind) else kind))
        return Pair(without=plain, with_it=base, change=f"{len(own)} of {len(base.spec.layers)} layers keep a state")
    heads = max(1, full.num_query_heads * full.head_dim // _STATE_DIM)
    state = GatedDelta(num_key_heads=heads, num_value_heads=heads, key_head_dim=_STATE_DIM, value_head_dim=_STATE_DIM)

    def change(index: int, kind: AttentionKind) -> AttentionKind:
        return state if reads_all(kind) and (index + 1) % _LINEAR_OF else kind

    hybrid = base.of(each_attention(base.spec, change))
    return Pair(without=base, with_it=hybrid, change=f"3 of 4 layers keep a state of {heads} x 128 x 128 numbers")
