"""Where a checkpoint keeps each of our weights: tables of names, data only. The engine loads by them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from windowtax.base.errors import UnsupportedModel
from windowtax.spec.model import LayerSpec, ModelSpec


class Transform(StrEnum):
    """What has to be done to a stored tensor before it is ours."""

    NONE = "none"
    UNPERMUTE_HEADS = "unpermute heads"
    """llama.cpp stores q and k of llama-architecture files with each head's two halves interleaved, for its RoPE over
    neighbouring pairs: row 2i + j of a head is row j * head_dim / 2 + i of ours (convert_hf_to_gguf.py, `permute`)."""
    MINUS_ONE = "minus one"
    """The file holds 1 + weight (norms of Gemma in GGUF)."""


@dataclass(frozen=True, slots=True)
class WeightSource:
    """One stored tensor, or rows of it. rows: first and past-the-last row of a fused tensor; None: all of it.

    Where the weight has a multiple of so many rows, the tensor is so many equal parts, one per head, and these are the
    rows of each.
    """

    key: str
    rows: tuple[int, int] | None = None
    transform: Transform = Transform.NONE


Rows = Callable[[LayerSpec], tuple[int, int]]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """A naming scheme.

    top: embedding, norm and head. layer: our name inside a layer -> the name inside theirs; a pair (name, rows) where
    it is a part of a fused tensor. kinds: by attention kind, where its names are others. layer_prefix: with {} for the
    layer's index. transforms: by our name in the layer, or at the top.
    """

    top: Mapping[str, str]
    layer_prefix: str
    layer: Mapping[str, str | tuple[str, Rows]]
    transforms: Mapping[str, Transform] = field(default_factory=dict[str, Transform])
    kinds: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def sources(self, spec: ModelSpec) -> dict[str, WeightSource]:
        """Our weight name -> its source, for every weight of the spec. Raises UnsupportedModel."""
        return {weight.name: self._source(spec, weight.name) for weight in spec.weights()}

    def _source(self, spec: ModelSpec, name: str) -> WeightSource:
        if not name.startswith("layers."):
            return WeightSource(_lookup(self.top, name), None, self.transforms.get(name, Transform.NONE))
        _, index, inner = name.split(".", 2)
        layer = spec.layers[int(index)]
        own = self.kinds.get(layer.attention.kind, {})
        theirs, rows = own[inner] if inner in own else _lookup(self.layer, inner), None
        if isinstance(theirs, tuple):
            theirs, rows = theirs[0], theirs[1](layer)
        key = self.layer_prefix.format(index) + theirs
        return WeightSource(key, rows, self.transforms.get(inner, Transform.NONE))


HF_NAMES = WeightNames(
    top={"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"},
    layer_prefix="model.layers.{}.",
    layer={
        "attention_norm": "input_layernorm.weight",
        "attention.q": "self_attn.q_proj.weight",
        "attention.k": "self_attn.k_proj.weight",
        "attention.v": "self_attn.v_proj.weight",
        "attention.o": "self_attn.o_proj.weight",
        "attention.q_bias": "self_attn.q_proj.bias",
        "attention.k_bias": "self_attn.k_proj.bias",
        "attention.v_bias": "self_attn.v_proj.bias",
        "attention.o_bias": "self_attn.o_proj.bias",
        "attention.q_norm": "self_attn.q_norm.weight",
        "attention.k_norm": "self_attn.k_norm.weight",
        "mlp_norm": "post_attention_layernorm.weight",
        "mlp.gate": "mlp.gate_proj.weight",
        "mlp.up": "mlp.up_proj.weight",
        "mlp.down": "mlp.down_proj.weight",
        "mlp.gate_bias": "mlp.gate_proj.bias",
        "mlp.up_bias": "mlp.up_proj.bias",
        "mlp.down_bias": "mlp.down_proj.bias",
    },
)
"""The names of Llama in transformers, which most families took over."""

GGUF_NAMES = WeightNames(
    top={"embedding": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"},
    layer_prefix="blk.{}.",
    layer={
        "attention_norm": "attn_norm.weight",
        "attention.q": "attn_q.weight",
        "attention.k": "attn_k.weight",
        "attention.v": "attn_v.weight",
        "attention.o": "attn_output.weight",
        "attention.q_bias": "attn_q.bias",
        "attention.k_bias": "attn_k.bias",
        "attention.v_bias": "attn_v.bias",
        "attention.o_bias": "attn_output.bias",
        "attention.q_norm": "attn_q_norm.weight",
        "attention.k_norm": "attn_k_norm.weight",
        "mlp_norm": "ffn_norm.weight",
        "mlp.gate": "ffn_gate.weight",
        "mlp.up": "ffn_up.weight",
        "mlp.down": "ffn_down.weight",
    },
)
"""The names that llama.cpp gives the same weights."""

GEMMA_HF_NAMES = replace(
    HF_NAMES,
    layer={
        **HF_NAMES.layer,
        "attention_post_norm": "post_attention_layernorm.weight",
        "mlp_norm": "pre_feedforward_layernorm.weight",
        "mlp_post_norm": "post_feedforward_layernorm.weight",
    },
)
"""Gemma 2 and 3 in transformers. A trap: post_attention_layernorm ends attention here; in Llama it begins the MLP."""

_GEMMA_NORMS = ("attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm", "norm")

GEMMA_GGUF_NAMES = replace(
    GGUF_NAMES,
    layer={
        **GGUF_NAMES.layer,
        "attention_post_norm": "post_attention_norm.weight",
        "mlp_post_norm": "post_ffw_norm.weight",
    },
    transforms=dict.fromkeys((*_GEMMA_NORMS, "attention.q_norm", "attention.k_norm"), Transform.MINUS_ONE),
)
"""Gemma 2 and 3 in GGUF."""


def _lookup(table: Mapping[str, T], name: str) -> T:
    if name not in table:
        raise UnsupportedModel(f"No name is known in the checkpoint for the weight {name!r}.")
    return table[name]
