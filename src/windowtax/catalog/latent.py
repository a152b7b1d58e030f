"""What DeepSeek's configs and their kin state: latent attention, the sparse index, experts beside shared ones."""

from collections.abc import Mapping

from windowtax.base.errors import BadInput
from windowtax.base.strict import REQUIRED, StrictConfig
from windowtax.catalog.sizes import Sizes
from windowtax.catalog.typed import optional_dict, optional_list, required_list
from windowtax.spec.attention.base import AttentionKind
from windowtax.spec.attention.mla import LatentAttention
from windowtax.spec.mlp import ExpertsMlp, Mlp
from windowtax.spec.model import LayerSpec
from windowtax.spec.rope import Rope, read_rope
from windowtax.spec.weights import Weight

LATENT_TRAPS = {
    "head_dim": "of the rotated part in some files, of nothing in others: a latent cache has no heads",
    "indexer_rope_interleave": "the order in which pairs are turned: logits only; such families are planned, not run",
    "num_key_value_heads": "repeats the query heads: a latent cache has no heads",
    "rope_interleave": "the order in which pairs are turned: logits only; such families are planned, not run",
}
"""Keys that look like the shape of a cache and are not."""


def read_latent(
    config: StrictConfig,
    sizes: Sizes,
    *,
    rotates: bool = True,
    ignore: Mapping[str, str] | None = None,
    v_head_dim: int = REQUIRED,
) -> LatentAttention:
    """The latent attention of a config. rotates: whether there is RoPE on the shared key. ignore: see read_rope.
    v_head_dim: where the config does not say."""
    nope, turned = config.take("qk_nope_head_dim", int), config.take("qk_rope_head_dim", int)
    config.expect("qk_head_dim", nope + turned)
    return LatentAttention(
        num_query_heads=sizes.num_query_heads,
        kv_lora_rank=config.take("kv_lora_rank", int),
        qk_nope_head_dim=nope,
        qk_rope_head_dim=turned,
        v_head_dim=config.take("v_head_dim", int, v_head_dim),
        q_lora_rank=config.take_optional("q_lora_rank", int),
        rope=_rope(config, sizes, turned, ignore) if rotates else None,
        bias=config.take("attention_bias", bool, False),
    )


def _rope(config: StrictConfig, sizes: Sizes, turned: int, ignore: Mapping[str, str] | None) -> Rope:
    """transformers 5 writes the rotated share of a whole head (Mistral 4), of which `turned` numbers are rotated."""
    given = optional_dict(config, "rope_parameters") or {}
    share = given.get("partial_rotary_factor")
    head_dim = round(turned / share) if share else turned
    return read_rope(config, head_dim=head_dim, max_context_tokens=sizes.max_context_tokens, ignore=ignore)


def read_experts(config: StrictConfig, sizes: Sizes, *, router_bias: bool | None = None) -> list[Mlp]:
    """The feed-forward part of each layer: dense first, then experts beside a shared one.

    router_bias: whether routers have one per expert; None: where `topk_method` is noaux_tc.
    """
    width = config.take("moe_intermediate_size", int)
    method = config.take("topk_method", str, "")
    experts = ExpertsMlp(
        num_experts=config.take("n_routed_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=width,
        activation=sizes.activation,
        shared_intermediate_size=width * config.take("n_shared_experts", int, 0),
        router_bias=method == "noaux_tc" if router_bias is None else router_bias,
    )
    routed = routed_layers(config, sizes.num_layers)
    return [experts if has_experts else sizes.mlp for has_experts in routed]


def routed_layers(config: StrictConfig, num_layers: int) -> list[bool]:
    """Which layers have experts: from `mlp_layer_types`, else from the first dense layers and the frequency (a
    number, or 0 and 1 per layer). Raises BadInput."""
    first = config.take("first_k_dense_replace", int, 0)
    kinds = optional_list(config, "mlp_layer_types")
    frequency = config.take("moe_layer_freq", object, 1)
    if kinds is not None:
        if len(kinds) != num_layers or set(kinds) - {"dense", "sparse"}:
            raise BadInput(f"{config.source}: 'mlp_layer_types' must name dense or sparse for {num_layers} layers.")
        return [kind == "sparse" for kind in kinds]
    if isinstance(frequency, list):
        return [bool(flag) for flag in required_list(config, "moe_layer_freq", num_layers)]
    if not isinstance(frequency, int) or frequency < 1:
        raise BadInput(f"{config.source}: 'moe_layer_freq' is {frequency!r}, but a whole number was expected.")
    return [index >= first and index % frequency == 0 for index in range(num_layers)]


def draft_layers(config: StrictConfig, key: str, layer: LayerSpec, hidden_size: int) -> tuple[LayerSpec, ...]:
    """The prediction layers that a config counts under `key`, each shaped as `layer`.

    Beside it each joins a hidden state and an embedding by a matrix of 2 * hidden_size columns, behind two norms, and
    has a norm before the shared head (DeepSeek-V3, arXiv 2412.19437, section 2.2).
    """
    join = (
        Weight("join", (hidden_size, 2 * hidden_size)),
        *(Weight(name, (hidden_size,)) for name in ("hidden_norm", "embedding_norm", "norm")),
    )
    one = LayerSpec(
        attention=layer.attention, mlp=layer.mlp, norms=layer.norms, extra_weights=(*layer.extra_weights, *join)
    )
    return (one,) * config.take(key, int, 0)


def paired(attention: list[AttentionKind], mlps: list[Mlp]) -> list[LayerSpec]:
    """Layers of these parts."""
    return [LayerSpec(attention=a, mlp=m) for a, m in zip(attention, mlps, strict=True)]
