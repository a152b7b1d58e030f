"""Reads the RoPE part of a Hugging Face config, in both spellings and strictly.

Old: `rope_theta`, `rope_scaling` {type | rope_type, ...} or null, `partial_rotary_factor` and sometimes
`original_max_position_embeddings` side by side. New (transformers 5): one dict `rope_parameters` {rope_type,
rope_theta, partial_rotary_factor, ...}, or one such dict per layer kind. A key beside the dict is the default for what
the dict leaves out; where the two contradict each other the config is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import StrictConfig
from windowtax.spec.rope.base import ROPE_SCALINGS, Rope, RopeScaling, check_length

_ORIGINAL = "original_max_position_embeddings"
_BESIDE: dict[str, type[int] | type[float]] = {"rope_theta": float, "partial_rotary_factor": float, _ORIGINAL: int}


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What holds where neither the rope dict nor the keys beside it say otherwise; ignore: see read_rope."""

    theta: float
    partial_rotary_factor: float
    original_context_tokens: int
    max_context_tokens: int
    ignore: Mapping[str, str]


def find_scaling(name: str) -> type[RopeScaling]:
    """The scaling that configs call `name` ("su" is longrope, "default" is none). Raises UnknownName."""
    for _, scaling in ROPE_SCALINGS.items():
        if name in scaling.aliases:
            return scaling
    return ROPE_SCALINGS.get(name)


def read_rope(
    config: StrictConfig,
    *,
    head_dim: int,
    max_context_tokens: int,
    default_theta: float = 10000.0,
    default_partial_rotary_factor: float = 1.0,
    ignore: Mapping[str, str] | None = None,
) -> Rope:
    """The one RoPE of a config. Marks the config's rope keys as read; the caller finishes `config` itself.

    head_dim: what partial_rotary_factor is a share of; for latent attention, the width of the rope part.
    max_context_tokens: max_position_embeddings. ignore: keys inside the rope dict that do not matter for this family,
    each with its reason. Raises BadInput, UnsupportedModel (keys nobody reads, a dict per kind) or UnknownName.
    """
    parameters = _rope_dict(config)
    if any(isinstance(value, dict) for value in parameters.values()):
        raise UnsupportedModel(
            f"{config.source}: one RoPE for all layers was expected, but there is one for each of {sorted(parameters)}."
        )
    beside = _read_beside(config, [parameters])
    defaults = _defaults(beside, max_context_tokens, default_theta, default_partial_rotary_factor, ignore)
    return _build(parameters, f"{config.source}, rope parameters", head_dim, defaults)


def read_rope_by_kind(
    config: StrictConfig,
    *,
    head_dims: Mapping[str, int],
    max_context_tokens: int,
    default_theta: float = 10000.0,
    default_partial_rotary_factor: float = 1.0,
    ignore: Mapping[str, str] | None = None,
) -> dict[str, Rope]:
    """The RoPE of each layer kind; a kind whose entry is null has none and is left out.

    head_dims: head_dim of each kind that the family knows ("full_attention", ...). A config with one flat dict gives
    every kind the same parameters. Else as `read_rope`; a kind without an entry, or the reverse, is UnsupportedModel.
    """
    parameters = _rope_dict(config)
    nested = any(isinstance(value, dict) for value in parameters.values()) or any(
        key in head_dims for key in parameters
    )
    by_kind: dict[str, Any] = parameters if nested else dict.fromkeys(head_dims, parameters)
    if set(by_kind) != set(head_dims):
        raise UnsupportedModel(
            f"{config.source}: RoPE is given for {sorted(by_kind)}, but the kinds of layers are {sorted(head_dims)}."
        )
    rotated = {kind: cast("dict[str, Any]", inner) for kind, inner in by_kind.items() if inner is not None}
    beside = _read_beside(config, list(rotated.values()))
    defaults = _defaults(beside, max_context_tokens, default_theta, default_partial_rotary_factor, ignore)
    return {
        kind: _build(inner, f"{config.source}, rope parameters of {kind}", head_dims[kind], defaults)
        for kind, inner in rotated.items()
    }


def _rope_dict(config: StrictConfig) -> dict[str, Any]:
    """The rope dict under its old or new key; empty where there is none."""
    old = cast("dict[str, Any] | None", config.take_optional("rope_scaling", dict))
    new = cast("dict[str, Any] | None", config.take_optional("rope_parameters", dict))
    if old and new and old != new:
        raise BadInput(f"{config.source}: 'rope_scaling' and 'rope_parameters' contradict each other.")
    return new or old or {}


def _read_beside(config: StrictConfig, dicts: Sequence[Mapping[str, Any]]) -> dict[str, float | int]:
    """The rope keys beside the dicts. Raises BadInput where every dict says something else than such a key."""
    beside: dict[str, float | int] = {}
    for key, number in _BESIDE.items():
        value = config.take_optional(key, number)
        if value is None:
            continue
        if dicts and all(inner.get(key) not in (None, value) for inner in dicts):
            raise BadInput(f"{config.source}: {key!r} is {value:g}, but {dicts[0][key]!r} among the rope parameters.")
        beside[key] = value
    return beside


def _defaults(
    beside: Mapping[str, float | int],
    max_context_tokens: int,
    theta: float,
    partial_rotary_factor: float,
    ignore: Mapping[str, str] | None,
) -> _Defaults:
    check_length("longest context", max_context_tokens)
    return _Defaults(
        theta=beside.get("rope_theta", theta),
        partial_rotary_factor=beside.get("partial_rotary_factor", partial_rotary_factor),
        original_context_tokens=int(beside.get(_ORIGINAL, max_context_tokens)),
        max_context_tokens=max_context_tokens,
        ignore=ignore or {},
    )


def _build(parameters: Mapping[str, Any], source: str, head_dim: int, defaults: _Defaults) -> Rope:
    """One Rope from one flat rope dict, every key of it read."""
    share = parameters.get("partial_rotary_factor")
    filled = {"partial_rotary_factor": defaults.partial_rotary_factor if share is None else share}
    config = StrictConfig({**parameters, **filled}, source)
    scaling_class = find_scaling(_rope_type(config))
    theta = config.take("rope_theta", float, defaults.theta)
    rotary_dim = head_dim
    if not scaling_class.whole_head:
        rotary_dim = int(head_dim * config.take("partial_rotary_factor", float))
    scaling = scaling_class.from_config(config, defaults.original_context_tokens, defaults.max_context_tokens)
    config.ignore(defaults.ignore)
    config.finish()
    if not 0 < rotary_dim <= head_dim:
        raise BadInput(f"{source}: {rotary_dim} dimensions of a head of {head_dim} cannot turn.")
    return Rope(theta, rotary_dim, scaling)


def _rope_type(config: StrictConfig) -> str:
    """The scaling's name, under its new or old key; "default" where there is none."""
    new, old = config.take_optional("rope_type", str), config.take_optional("type", str)
    if new and old and find_scaling(new) is not find_scaling(old):
        raise BadInput(f"{config.source}: 'rope_type' is {new!r}, but 'type' is {old!r}.")
    return new or old or "default"
