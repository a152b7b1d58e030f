"""Command R and R+ (2024), Command R7B and Command A (Cohere 2025, arXiv 2504.00698): one norm before attention and
MLP, which run side by side; tied embeddings.

`cohere` attends to everything; `cohere2` slides a window on three layers of four, and every fourth is global and has
no RoPE. Planned only: LayerNorm and the logit scale are not computed here.
"""

from collections.abc import Sequence

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.layer_types import FULL, SLIDING, by_type, every, read_layer_types
from windowtax.catalog.sizes import Sizes, read_sizes
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.model import LayerSpec, ModelSpec, NormPlacement
from windowtax.spec.rope import Rope

_IGNORABLE = {
    "cache_implementation": "which cache class transformers takes by default",
    "layer_switch": "repeats sliding_window_pattern, which is read",
    "logit_scale": "a factor on the logits: this family is planned, not run",
    "model_max_length": "a limit of the tokenizer; max_position_embeddings is read",
    "use_embedding_sharing": "repeats tie_word_embeddings, whose default is true here",
    "use_parallel_embedding": "how training split the embedding",
}


def read_cohere(config: StrictConfig) -> ModelSpec:
    """Full attention with RoPE on every layer. Command R+ normalises queries and keys."""
    sizes, rope = _read_shared(config, default_theta=5e5)
    norm = QkNorm.EACH_HEAD if config.take("use_qk_norm", bool, False) else QkNorm.NONE
    return _build(sizes, "cohere", [sizes.attention(rope, qk_norm=norm)] * sizes.num_layers)


def read_cohere2(config: StrictConfig) -> ModelSpec:
    """Windowed layers have RoPE, global ones do not."""
    sizes, rope = _read_shared(config, default_theta=1e4)
    config.expect("use_qk_norm", False)
    config.expect("order_of_interleaved_layers", "local_attn_first")
    pattern = config.take("sliding_window_pattern", int, 4)
    kinds = read_layer_types(config, sizes.num_layers) or every(pattern, sizes.num_layers)
    local = sizes.windowed(sizes.attention(rope), config.take("sliding_window", int))
    return _build(sizes, "cohere2", by_type(config, kinds, {FULL: sizes.attention(None), SLIDING: local}))


def _read_shared(config: StrictConfig, default_theta: float) -> tuple[Sizes, Rope]:
    sizes = read_sizes(config, {"tie_word_embeddings": True}, norm_eps_key="layer_norm_eps")
    config.expect("attention_bias", False)
    config.expect("use_gated_activation", True)
    config.expect("use_parallel_block", True)
    config.expect("rotary_pct", 1.0)
    config.expect("position_embedding_type", "rope_gptj")
    rope = sizes.rope(config, theta=default_theta)
    return sizes, rope


def _build(sizes: Sizes, family: str, attention: Sequence[SoftmaxAttention]) -> ModelSpec:
    layers = [LayerSpec(attention=kind, mlp=sizes.mlp, norms=NormPlacement.PARALLEL) for kind in attention]
    return sizes.model(family, layers)


FAMILIES.register("cohere")(
    Family(name="cohere", architectures=("CohereForCausalLM", "cohere"), reader=read_cohere, ignorable=_IGNORABLE)
)
FAMILIES.register("cohere2")(
    Family(name="cohere2", architectures=("Cohere2ForCausalLM", "cohere2"), reader=read_cohere2, ignorable=_IGNORABLE)
)
