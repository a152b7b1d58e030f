"""Experts as Qwen's configs state them: routed ones on every `decoder_sparse_step`-th layer, beside one that all tokens
share and that has a gate of its own (Qwen 2), or none (Qwen 3)."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.sizes import Sizes
from windowtax.catalog.typed import optional_list
from windowtax.spec.mlp import ExpertsMlp, Mlp


def read_qwen_experts(config: StrictConfig, sizes: Sizes) -> list[Mlp]:
    """The feed-forward part of each layer. transformers 5 writes `num_local_experts` for `num_experts`."""
    shared = config.take("shared_expert_intermediate_size", int, 0)
    count = config.take_optional("num_local_experts", int)
    experts = ExpertsMlp(
        num_experts=config.take("num_experts", int) if count is None else count,
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=config.take("moe_intermediate_size", int),
        activation=sizes.activation,
        shared_intermediate_size=shared,
        shared_gate=shared > 0,
    )
    if count is not None:
        config.expect("num_experts", count)
    dense = set(optional_list(config, "mlp_only_layers") or [])
    step = config.take("decoder_sparse_step", int, 1)
    return [sizes.mlp if index in dense or (index + 1) % step else experts for index in range(sizes.num_layers)]
