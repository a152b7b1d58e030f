"""Mamba, Mamba-2 and Falcon-Mamba without any attention (arXiv 2312.00752, 2405.21060, 2410.05355): a state that never
grows, and no window: the context has no end that a config could name."""

from windowtax.base.errors import BadInput
from windowtax.base.strict import StrictConfig
from windowtax.catalog.family import FAMILIES, Family
from windowtax.catalog.mamba import MAMBA_DETAILS
from windowtax.catalog.weight_dtype import read_weight_dtype
from windowtax.spec.attention.mamba1 import Mamba1
from windowtax.spec.attention.mamba2 import Mamba2
from windowtax.spec.attention.recurrent import RecurrentKind
from windowtax.spec.mlp import NoMlp
from windowtax.spec.model import LayerSpec, ModelSpec

_NO_END = 1 << 20
"""What a plan offers as the longest context; the state is as large at any length."""


def read_mamba1(config: StrictConfig) -> ModelSpec:
    """The rank of the time step is "auto" for a sixteenth of the hidden size, rounded up."""
    hidden = config.take("hidden_size", int)
    inner = config.take("expand", int, 2) * hidden
    config.expect("intermediate_size", inner)
    config.expect("d_inner", inner)
    rank = config.take("time_step_rank", object, "auto")
    return _model(
        config,
        "mamba",
        Mamba1(
            channels=inner,
            state_dim=config.take("state_size", int),
            dt_rank=rank if isinstance(rank, int) else -(-hidden // 16),
            conv_kernel=config.take("conv_kernel", int, 4),
            conv_bias=config.take("use_conv_bias", bool, True),
            projection_bias=config.take("use_bias", bool, False),
        ),
        tied=True,
    )


def read_mamba2(config: StrictConfig) -> ModelSpec:
    """Heads times their size is the inner width."""
    mamba = Mamba2(
        num_heads=config.take("num_heads", int),
        head_dim=config.take("head_dim", int),
        state_dim=config.take("state_size", int),
        num_groups=config.take("n_groups", int),
        conv_kernel=config.take("conv_kernel", int, 4),
        conv_bias=config.take("use_conv_bias", bool, True),
        projection_bias=config.take("use_bias", bool, False),
    )
    width = config.take("expand", int, 2) * config.take("hidden_size", int)
    if mamba.num_heads * mamba.head_dim != width:
        raise BadInput(f"{config.source}: {mamba.num_heads} heads of {mamba.head_dim} are not {width} channels.")
    return _model(config, "mamba2", mamba, tied=False)


def _model(config: StrictConfig, family: str, kind: RecurrentKind, *, tied: bool) -> ModelSpec:
    config.expect("hidden_act", "silu")
    layer = LayerSpec(attention=kind, mlp=NoMlp())
    return ModelSpec(
        name="",
        family=family,
        vocab_size=config.take("vocab_size", int),
        hidden_size=config.take("hidden_size", int),
        layers=(layer,) * config.take("num_hidden_layers", int),
        max_context_tokens=config.take("max_position_embeddings", int, _NO_END),
        norm_eps=config.take("layer_norm_epsilon", float, 1e-5),
        tie_embeddings=config.take("tie_word_embeddings", bool, tied),
        weight_dtype=read_weight_dtype(config),
    )


_IGNORABLE = {
    **MAMBA_DETAILS,
    "d_model": "says again what hidden_size says",
    "mixer_rms_eps": "of norms without weights on dt, B and C: logits only, and this family is planned, not run",
    "n_layer": "says again what num_hidden_layers says",
    "norm_before_gate": "the order of norm and gate: logits only, and this family is planned, not run",
    "rms_norm": "every checkpoint of this architecture has the gated norm",
    "ssm_cfg": "of the authors' own code, which transformers does not read",
}

FAMILIES.register("mamba")(
    Family(
        name="mamba",
        architectures=("MambaForCausalLM", "mamba", "FalconMambaForCausalLM", "falcon_mamba"),
        reader=read_mamba1,
        ignorable=_IGNORABLE,
    )
)
FAMILIES.register("mamba2")(
    Family(
        name="mamba2",
        architectures=("Mamba2ForCausalLM", "mamba2"),
        reader=read_mamba2,
        ignorable={**_IGNORABLE, "time_step_rank": "of Mamba 1; Mamba-2 has one time step per head"},
    )
)
