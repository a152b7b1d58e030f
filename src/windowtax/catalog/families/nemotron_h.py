"""Nemotron-H and Nemotron 3 (NVIDIA 2025, arXiv 2504.03624): each layer is one part, attention, Mamba-2, a dense or an
experts' feed-forward. The pattern is a string of `*`, `M`, `-` and `E`, or a list of words."""

from dataclasses import replace

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import ROUTING
from windowtax.catalog.sizes import Sizes, read_sizes, state_element
from windowtax.catalog.typed import optional_list
from windowtax.spec.attention.mamba2 import Mamba2
from windowtax.spec.attention.none import NoAttention
from windowtax.spec.mlp import ExpertsMlp, NoMlp, PlainMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.weights import Weight

_LETTERS = {"*": "attention", "M": "mamba", "-": "mlp", "E": "moe"}
_WORDS = {"full_attention": "attention", "linear_attention": "mamba"}


def read(config: StrictConfig) -> ModelSpec:
    """Attention has no positions; `rope_theta` is a leftover. Prediction layers are one attention and one experts'
    part."""
    kinds = _kinds(config, "hybrid_override_pattern", "layers_block_type")
    if kinds is None:
        raise BadInput(f"{config.source}: neither 'hybrid_override_pattern' nor 'layers_block_type' names the layers.")
    given = config.take("num_hidden_layers", int, len(kinds))
    if given != len(kinds):
        raise BadInput(f"{config.source}: the pattern names {len(kinds)} layers, 'num_hidden_layers' says {given}.")
    sizes = _sizes(config, len(kinds))
    drafts = config.take("num_nextn_predict_layers", int, 0)
    drafting = (_kinds(config, "mtp_hybrid_override_pattern", "mtp_layers_block_type") or ["attention", "moe"]) * drafts
    parts = {kind: _part(config, sizes, kind) for kind in {*kinds, *drafting}}
    return replace(
        sizes.model("nemotron_h", [parts[kind] for kind in kinds]),
        draft_layers=tuple(
            replace(parts[kind], extra_weights=_join(sizes.hidden_size) if kind == "attention" else ())
            for kind in drafting
        ),
    )


def _kinds(config: StrictConfig, pattern_key: str, list_key: str) -> list[str] | None:
    pattern, listed = config.take_optional(pattern_key, str), optional_list(config, list_key)
    if pattern is None and listed is None:
        return None
    kinds: list[str] = [_WORDS.get(str(kind), str(kind)) for kind in listed or []]
    if not kinds:
        kinds = [_LETTERS.get(letter, letter) for letter in pattern or ""]
    if unknown := sorted(set(kinds) - set(_LETTERS.values())):
        raise UnsupportedModel(
            f"{config.source}: {', '.join(map(repr, unknown))} among the layers is not known in this family.",
            f"Known: {', '.join(f'{letter} ({word})' for letter, word in _LETTERS.items())}.",
        )
    return kinds


def _sizes(config: StrictConfig, num_layers: int) -> Sizes:
    eps = config.take(
        "norm_eps", float, config.take("rms_norm_eps", float, config.take("layer_norm_epsilon", float, 1e-5))
    )
    activation = config.take("mlp_hidden_act", str, "relu2")
    if activation != "relu2":
        raise UnsupportedModel(f"{config.source}: 'mlp_hidden_act' is {activation!r}; relu2 is known here.")
    head_dim = config.take_optional("attention_head_dim", int)
    defaults = {
        "num_hidden_layers": num_layers,
        "rms_norm_eps": eps,
        "hidden_act": "silu",
        **({"head_dim": head_dim} if head_dim else {}),
    }
    config.expect("mamba_hidden_act", "silu")
    config.expect("sliding_window")
    config.expect("mlp_bias", False)
    config.expect("attention_bias", False)
    config.expect("use_bias", False)
    return read_sizes(config, defaults)


def _part(config: StrictConfig, sizes: Sizes, kind: str) -> LayerSpec:
    if kind == "attention":
        return LayerSpec(attention=sizes.attention(None), mlp=NoMlp())
    if kind == "mamba":
        return LayerSpec(attention=_mamba(config), mlp=NoMlp())
    if kind == "mlp":
        return LayerSpec(
            attention=NoAttention(), mlp=PlainMlp(intermediate_size=sizes.intermediate_size, activation="relu2")
        )
    return LayerSpec(attention=NoAttention(), mlp=_experts(config))


def _mamba(config: StrictConfig) -> Mamba2:
    return Mamba2(
        num_heads=config.take("mamba_num_heads", int),
        head_dim=config.take("mamba_head_dim", int),
        state_dim=config.take("ssm_state_size", int),
        num_groups=config.take("n_groups", int),
        conv_kernel=config.take("conv_kernel", int),
        conv_bias=config.take("use_conv_bias", bool, True),
        projection_bias=config.take("mamba_proj_bias", bool, False),
        state_element=state_element(config, "mamba_ssm_cache_dtype"),
    )


def _experts(config: StrictConfig) -> ExpertsMlp:
    shared = config.take("moe_shared_expert_intermediate_size", int) * config.take("n_shared_experts", int, 1)
    return ExpertsMlp(
        num_experts=config.take("n_routed_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation="relu2",
        shared_intermediate_size=shared,
        router_bias=True,
        gated=False,
        latent_size=config.take_optional("moe_latent_size", int),
    )


def _join(hidden_size: int) -> tuple[Weight, ...]:
    names = ("hidden_norm", "embedding_norm", "norm")
    return (Weight("join", (hidden_size, 2 * hidden_size)), *(Weight(name, (hidden_size,)) for name in names))


_TIME = "bounds of the time step, which is a weight: logits only, and this family is planned, not run"
_NOWHERE = "of RoPE, which no layer of this model has"

FAMILIES.register("nemotron_h")(
    Family(
        name="nemotron_h",
        architectures=("NemotronHForCausalLM", "nemotron_h"),
        reader=read,
        parts=("ssm_state_size",),
        ignorable={
            **ROUTING,
            **dict.fromkeys(
                ("time_step_floor", "time_step_limit", "time_step_max", "time_step_min", "time_step_rank"), _TIME
            ),
            "chunk_size": "how many tokens the kernel of Mamba-2 takes at a time; the sum stays the same",
            "expand": "repeats heads times head size of the Mamba layers",
            "moe_shared_expert_overlap": "whether a kernel computes shared and routed experts at once",
            "num_logits_to_keep": "which logits transformers computes",
            "partial_rotary_factor": _NOWHERE,
            "rescale_prenorm_residual": "acts in training only",
            "residual_in_fp32": "the type of the residual: logits only, and this family is planned, not run",
            "rope_theta": _NOWHERE,
            "use_mamba_kernels": "which kernel transformers takes; all compute the same",
        },
    )
)
