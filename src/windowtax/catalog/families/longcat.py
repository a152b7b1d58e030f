"""LongCat-Flash (Meituan 2025, arXiv 2509.01322): each layer is two of latent attention and two dense parts, with
experts on a shortcut beside them, some of which give back what they take ("zero experts") and have no weights."""

from fractions import Fraction

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.ignorable import PREDICTION_LAYERS, ROUTING
from windowtax.catalog.latent import LATENT_TRAPS, read_latent
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.weights import Weight


def read(config: StrictConfig) -> ModelSpec:
    """`num_layers` counts pairs: every one keeps two latent rows per token."""
    pairs = config.take("num_layers", int)
    config.expect("num_hidden_layers", 2 * pairs)
    sizes = read_sizes(
        config,
        {"hidden_act": "silu", "num_hidden_layers": 2 * pairs},
        intermediate_size=config.take("ffn_hidden_size", int),
    )
    config.expect("attention_method", "MLA")
    config.expect("router_bias", False)
    config.expect("zero_expert_type", "identity")
    latent = read_latent(config, sizes)
    first = LayerSpec(attention=latent, mlp=sizes.mlp, extra_weights=_experts(config, sizes))
    return sizes.model("longcat_flash", [first, LayerSpec(attention=latent, mlp=sizes.mlp)] * pairs)


def _experts(config: StrictConfig, sizes: Sizes) -> tuple[Weight, ...]:
    """A token takes `moe_topk` of all experts, zero ones among them: on average so many of those with weights."""
    real, empty = config.take("n_routed_experts", int), config.take("zero_expert_num", int, 0)
    wide, inner = sizes.hidden_size, config.take("expert_ffn_hidden_size", int)
    share = Fraction(config.take("moe_topk", int), real + empty)
    return (
        Weight("mlp.experts.gate_up", (real, 2 * inner, wide), share),
        Weight("mlp.experts.down", (real, wide, inner), share),
        Weight("mlp.router", (real + empty, wide)),
        Weight("mlp.router_bias", (real + empty,)),
    )


_SCALE = "scales latent rows: logits only, and this family is planned, not run"

FAMILIES.register("longcat_flash")(
    Family(
        name="longcat_flash",
        architectures=("LongcatFlashForCausalLM", "longcat_flash"),
        reader=read,
        ignorable={
            **ROUTING,
            **LATENT_TRAPS,
            **PREDICTION_LAYERS,
            "mla_scale_kv_lora": _SCALE,
            "mla_scale_q_lora": _SCALE,
        },
        parts=("kv_lora_rank",),
    )
)
