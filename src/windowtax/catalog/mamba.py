"""Mamba-2 as the configs of Bamba, Granite 4 and Falcon-H1 state it."""

from windowtax.base.strict import StrictConfig
from windowtax.catalog.sizes import state_element
from windowtax.spec.attention.mamba2 import Mamba2

_TIME = "bounds of the time step, which is a weight: logits only, and such families are planned, not run"

MAMBA_DETAILS: dict[str, str] = {
    "chunk_size": "how many tokens the kernel of Mamba-2 takes at a time; the sum stays the same",
    "logits_to_keep": "which logits transformers computes",
    "mamba_chunk_size": "how many tokens the kernel of Mamba-2 takes at a time; the sum stays the same",
    "num_logits_to_keep": "which logits transformers computes",
    "rescale_prenorm_residual": "acts in training only",
    "residual_in_fp32": "the type of the residual: logits only, and such families are planned, not run",
    "time_step_floor": _TIME,
    "time_step_init_scheme": _TIME,
    "time_step_limit": _TIME,
    "time_step_max": _TIME,
    "time_step_min": _TIME,
    "time_step_scale": _TIME,
    "use_associative_scan": "which kernel transformers takes; all compute the same",
    "use_mamba_kernels": "which kernel transformers takes; all compute the same",
    "use_mambapy": "which kernel transformers takes; all compute the same",
    "use_mem_eff_path": "which kernel transformers takes; all compute the same",
    "z_loss_coefficient": "acts in training only",
}
"""Keys without effect on bytes, FLOPs or the shape of a state."""


def read_mamba2(config: StrictConfig, hidden_size: int) -> Mamba2:
    """The `mamba_*` keys. The inner width is `mamba_d_ssm`, or `mamba_expand` times hidden_size; where the size of a
    head is missing or "auto" it is that width over the heads."""
    heads = config.take("mamba_n_heads", int)
    expand = config.take("mamba_expand", int, 2)
    inner = config.take("mamba_d_ssm", int, expand * hidden_size)
    head_dim = config.take_optional("mamba_d_head", object)
    return Mamba2(
        num_heads=heads,
        head_dim=head_dim if isinstance(head_dim, int) else inner // heads,
        state_dim=config.take("mamba_d_state", int),
        num_groups=config.take("mamba_n_groups", int, 1),
        conv_kernel=config.take("mamba_d_conv", int),
        conv_bias=config.take("mamba_conv_bias", bool, True),
        projection_bias=config.take("mamba_proj_bias", bool, False),
        state_element=state_element(config, "mamba_ssm_dtype"),
    )
