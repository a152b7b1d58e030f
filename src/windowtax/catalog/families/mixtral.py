"""Mixtral 8x7B and 8x22B (Jiang et al. 2024, arXiv 2401.04088): Mistral with eight experts, two per token."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.sizes import read_sizes
from windowtax.spec.mlp import ExpertsMlp
from windowtax.spec.model import LayerSpec, ModelSpec


def read(config: StrictConfig) -> ModelSpec:
    """No window, unless the config names one."""
    sizes = read_sizes(config)
    rope = sizes.rope(config, theta=1e6)
    attention = sizes.windowed(sizes.attention(rope), config.take_optional("sliding_window", int))
    experts = ExpertsMlp(
        num_experts=config.take("num_local_experts", int),
        top_k=config.take("num_experts_per_tok", int),
        intermediate_size=sizes.intermediate_size,
        activation=sizes.activation,
    )
    return sizes.model("mixtral", [LayerSpec(attention=attention, mlp=experts)] * sizes.num_layers)


FAMILIES.register("mixtral")(Family(name="mixtral", architectures=("MixtralForCausalLM", "mixtral"), reader=read))
