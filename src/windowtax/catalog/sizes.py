"""What nearly every decoder's config states, read once for all families, and the parts built from it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from windowtax.base.errors import BadInput, UnsupportedModel
from windowtax.base.strict import REQUIRED, StrictConfig
from windowtax.catalog.weight_dtype import read_weight_dtype
from windowtax.spec.attention.chunked import ChunkedAttention
from windowtax.spec.attention.full import FullAttention
from windowtax.spec.attention.sliding import SlidingAttention
from windowtax.spec.attention.softmax import QkNorm, SoftmaxAttention
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import LayerSpec, ModelSpec
from windowtax.spec.rope import Rope, read_rope

_STATE_TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}

ACTIVATIONS = {"silu": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
"""Those that the engine computes."""
_ELEMENTWISE = {
    **ACTIVATIONS,
    "swish": "silu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    **{name: name for name in ("gelu", "relu", "relu2", "xielu", "situ", "swigluoai")},
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers. num_kv_heads, head_dim: as the config states them, never derived where it does."""

    num_layers: int
    hidden_size: int
    num_query_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_context_tokens: int
    norm_eps: float
    tie_embeddings: bool
    activation: str
    weight_dtype: str

    def rope(
        self, config: StrictConfig, *, theta: float = 1e4, share: float = 1.0, ignore: Mapping[str, str] | None = None
    ) -> Rope:
        """The one RoPE of a config. theta, share: the base and the rotated share where the config is silent. ignore:
        keys of the rope dict without effect, each with its reason."""
        return read_rope(
            config,
            head_dim=self.head_dim,
            max_context_tokens=self.max_context_tokens,
            default_theta=theta,
            default_partial_rotary_factor=share,
            ignore=ignore,
        )

    def attention(self, rope: Rope | None, *, qkv_bias: bool = False, qk_norm: QkNorm = QkNorm.NONE) -> FullAttention:
        """Full attention with these heads; `windowed` and `chunked` make the other kinds of it."""
        return FullAttention(
            num_query_heads=self.num_query_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            v_head_dim=self.head_dim,
            rope=rope,
            qkv_bias=qkv_bias,
            qk_norm=qk_norm,
        )

    def windowed(self, full: FullAttention, window: int | None) -> SoftmaxAttention:
        """The same attention over a window. None, or one as long as the longest context, is no window.

        Raises BadInput for a window without a token.
        """
        if window is None or window >= self.max_context_tokens:
            return full
        if window < 1:
            raise BadInput(f"A sliding window of {window} tokens cannot be.", "Write null where no layer slides.")
        return SlidingAttention(**_dressing(full), window_tokens=window)

    @property
    def mlp(self) -> GatedMlp:
        """The gated MLP of intermediate_size."""
        return GatedMlp(intermediate_size=self.intermediate_size, activation=self.activation)

    def model(self, family: str, layers: Iterable[LayerSpec]) -> ModelSpec:
        """The spec, still without a name."""
        return ModelSpec(
            name="",
            family=family,
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            layers=tuple(layers),
            max_context_tokens=self.max_context_tokens,
            norm_eps=self.norm_eps,
            tie_embeddings=self.tie_embeddings,
            weight_dtype=self.weight_dtype,
        )


def chunked(full: FullAttention, chunk_tokens: int) -> ChunkedAttention:
    """The same attention inside chunks."""
    return ChunkedAttention(**_dressing(full), chunk_tokens=chunk_tokens)


def _dressing(attention: SoftmaxAttention) -> dict[str, Any]:
    return {field.name: getattr(attention, field.name) for field in fields(SoftmaxAttention)}


def read_sizes(
    config: StrictConfig,
    defaults: Mapping[str, Any] | None = None,
    *,
    norm_eps_key: str = "rms_norm_eps",
    intermediate_size: int | None = None,
    activation: str | None = None,
) -> Sizes:
    """Reads the shared keys of a Hugging Face config. intermediate_size, activation: where the caller has read that
    one itself.

    defaults: what this family's config class in transformers fills in for a missing key; any other missing key is an
    error. num_key_value_heads and head_dim that are missing or null mean the number of query heads and
    hidden_size / heads. Raises BadInput or UnsupportedModel.
    """
    known = defaults or {}

    def number(key: str, *, default: int = REQUIRED, least: int = 1) -> int:
        value = config.take(key, int, known.get(key, default))
        if value < least:
            raise BadInput(f"{config.source}: {key!r} is {value}; it must be at least {least}.")
        return value

    heads, hidden = number("num_attention_heads"), number("hidden_size")
    return Sizes(
        num_layers=number("num_hidden_layers"),
        hidden_size=hidden,
        num_query_heads=heads,
        num_kv_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=hidden // heads),
        intermediate_size=number("intermediate_size", least=0) if intermediate_size is None else intermediate_size,
        vocab_size=number("vocab_size"),
        max_context_tokens=number("max_position_embeddings"),
        norm_eps=config.take(norm_eps_key, float, known.get(norm_eps_key, REQUIRED)),
        tie_embeddings=config.take("tie_word_embeddings", bool, known.get("tie_word_embeddings", False)),
        activation=activation or _read_activation(config, known.get("hidden_act", REQUIRED)),
        weight_dtype=read_weight_dtype(config),
    )


def planned_activation(config: StrictConfig, default: str = "silu", key: str = "hidden_act") -> str:
    """The activation of a family that is planned, not run: any that works number by number costs the same.

    Raises UnsupportedModel for one not known.
    """
    name = config.take(key, str, default)
    if name not in _ELEMENTWISE:
        raise UnsupportedModel(f"{config.source}: the activation {name!r} is not known here.")
    return _ELEMENTWISE[name]


def state_element(config: StrictConfig, key: str) -> str:
    """The type of recurrent states that a config names under `key`; fp32, in which they are computed, where it is
    silent.

    Raises UnsupportedModel for a type not known.
    """
    named = config.take(key, str, "float32")
    if named not in _STATE_TYPES:
        raise UnsupportedModel(f"{config.source}: {key!r} is {named!r}; known are {', '.join(_STATE_TYPES)}.")
    return _STATE_TYPES[named]


def read_gguf_sizes(metadata: StrictConfig, activation: str = "silu") -> Sizes:
    """Reads the shared keys of GGUF metadata (see gguf.py). Raises BadInput or UnsupportedModel."""
    heads = metadata.take("attention.head_count", int)
    head_dim = metadata.take("attention.key_length", int, metadata.take("embedding_length", int) // heads)
    metadata.expect("attention.value_length", head_dim)
    return Sizes(
        num_layers=metadata.take("block_count", int),
        hidden_size=metadata.take("embedding_length", int),
        num_query_heads=heads,
        num_kv_heads=metadata.take("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        intermediate_size=metadata.take("feed_forward_length", int),
        vocab_size=metadata.take("file.vocab_size", int),
        max_context_tokens=metadata.take("context_length", int),
        norm_eps=metadata.take("attention.layer_norm_rms_epsilon", float),
        tie_embeddings=metadata.take("file.tied_embeddings", bool),
        activation=activation,
        weight_dtype=metadata.take("file.weight_dtype", str),
    )


def _read_activation(config: StrictConfig, default: str) -> str:
    """From `hidden_activation` (Gemma) or `hidden_act`; where both stand, transformers reads the first."""
    gemma, usual = (config.take_optional(key, str) for key in ("hidden_activation", "hidden_act"))
    name = gemma or usual or default
    if name is REQUIRED:
        raise BadInput(f"{config.source}: the key 'hidden_act' is missing.")
    if name not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{config.source}: the activation is {name!r}; this version knows {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]
