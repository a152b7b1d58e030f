"""Less computing, or more tokens of one reading: mixtures of experts, speculative decoding, FlashAttention."""

from collections.abc import Callable
from dataclasses import replace

from windowtax.base.errors import BadInput
from windowtax.plan.techniques.base import Pair, State, technique
from windowtax.spec.mlp import ExpertsMlp, GatedMlp, Mlp

_EXPERTS, _TOP_K = 8, 2
_DRAFTED, _ACCEPTED = 4, 0.8


@technique(
    "moe",
    "Mixture of experts",
    paths=(1,),
    term="N_active; N_total stays, so B* rises",
    article="5: path 1",
    source="Shazeer et al. 2017, arXiv 1701.06538",
)
def moe(base: State) -> Pair:
    """The model's own experts against all of them at once; a dense model's MLPs become the best 2 of 8 parts."""
    if any(isinstance(layer.mlp, ExpertsMlp) for layer in base.spec.layers):
        dense = _mlps(base, lambda mlp: replace(mlp, top_k=mlp.num_experts) if isinstance(mlp, ExpertsMlp) else mlp)
        share = base.spec.active_parameters / dense.spec.active_parameters
        return Pair(without=dense, with_it=base, change=f"{share:.0%} of all parameters are used per token")
    if not any(isinstance(layer.mlp, GatedMlp) for layer in base.spec.layers):
        raise BadInput(f"{base.spec.name} has no gated MLPs to split into experts.")
    mixed = _mlps(base, _split)
    share = mixed.spec.active_parameters / base.spec.active_parameters
    change = f"MLPs in {_EXPERTS} parts, {_TOP_K} per token: {share:.0%} of all parameters are used"
    return Pair(without=base, with_it=mixed, change=change)


def _mlps(base: State, change: Callable[[Mlp], Mlp]) -> State:
    return base.of(
        replace(base.spec, layers=tuple(replace(layer, mlp=change(layer.mlp)) for layer in base.spec.layers))
    )


def _split(mlp: Mlp) -> Mlp:
    if not isinstance(mlp, GatedMlp):
        return mlp
    size = mlp.intermediate_size // _EXPERTS
    return ExpertsMlp(num_experts=_EXPERTS, top_k=_TOP_K, intermediate_size=size, activation=mlp.activation)


@technique(
    "speculative",
    "Speculative decoding",
    paths=(2,),
    term="tokens per reading of weights and cache; FLOPs rise",
    article='5: "path 1, effective N_active shrinks"; it computes more, not less',
    source="Leviathan et al. 2023, arXiv 2211.17192, equation 1",
)
def speculative(base: State) -> Pair:
    """4 drafted tokens, each accepted with 0.8 (assumed); drafting itself is not counted."""
    expected = (1 - _ACCEPTED ** (_DRAFTED + 1)) / (1 - _ACCEPTED)
    fast = replace(base, tokens_per_step=expected, positions=_DRAFTED + 1)
    return Pair(
        without=base,
        with_it=fast,
        change=f"{_DRAFTED} drafted, {_ACCEPTED:g} accepted (assumed): {expected:.2f} tokens per step, 5 computed",
    )


@technique(
    "flash-attention",
    "FlashAttention",
    paths=(4,),
    term="an L^2 traffic that the equation never had; eta_C of prefill",
    article='5: "close to path 3"',
    source="Dao et al. 2022, arXiv 2205.14135, section 3.2",
)
def flash_attention(base: State) -> Pair:
    """Scores stay on the chip, against scores of the whole square written and read twice in 16 bits."""
    plain = replace(base, scores_in_memory=True)
    return Pair(
        without=plain, with_it=base, change="prompt x prompt scores per head and layer are not written to memory"
    )
