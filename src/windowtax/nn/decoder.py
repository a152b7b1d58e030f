"""The decoder: one loop over the layers of a ModelSpec. There is no class per family."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor

from windowtax.nn.attention.base import ATTENTION
from windowtax.nn.inputs import StepInputs
from windowtax.nn.mlp import GatedLayer
from windowtax.nn.refuse import refuse_uncomputed
from windowtax.ops.elementwise import rms_norm
from windowtax.ops.linear import linear
from windowtax.spec.mlp import GatedMlp
from windowtax.spec.model import ModelSpec, NormPlacement

TakeWeight = Callable[[str], Tensor]
"""Gives the tensor of a weight by the name that ModelSpec.weights() yields."""


class DecoderLayer:
    """Attention and MLP with their norms, as the LayerSpec places them."""

    def __init__(self, model: ModelSpec, index: int, weight: TakeWeight) -> None:
        layer = model.layers[index]
        self.eps = model.norm_eps
        refuse_uncomputed(model, layer)
        named = {w.name: weight(f"layers.{index}.{w.name}") for w in layer.weights(model.hidden_size)}
        self.norms = {
            name: norm_weight(model, w) for name, w in named.items() if name.endswith("norm") and "." not in name
        }
        attention = {name.removeprefix("attention."): w for name, w in named.items() if name.startswith("attention.")}
        for name in ("q_norm", "k_norm"):
            if name in attention:
                attention[name] = norm_weight(model, attention[name])
        self.attention = ATTENTION.get(layer.attention.kind)(layer.attention, index, attention, model.norm_eps)
        mlp = {name.removeprefix("mlp."): w for name, w in named.items() if name.startswith("mlp.")}
        self.mlp = GatedLayer(cast(GatedMlp, layer.mlp), mlp)
        self.sandwich = layer.norms is NormPlacement.SANDWICH

    def forward(self, hidden: Tensor, inputs: StepInputs) -> Tensor:
        """hidden [T, hidden_size] -> [T, hidden_size]."""
        mixed = self.attention.forward(self._norm(hidden, "attention_norm"), inputs)
        hidden = (self._norm(mixed, "attention_post_norm") if self.sandwich else mixed).add_(hidden)
        thought = self.mlp.forward(self._norm(hidden, "mlp_norm"))
        return (self._norm(thought, "mlp_post_norm") if self.sandwich else thought).add_(hidden)

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        return rms_norm(hidden, self.norms[name], self.eps)


class Decoder:
    """Embedding, layers, final norm and head. Takes each weight from the source once, in the order of the spec.

    Raises UnsupportedModel where the spec asks for something that is planned but not computed.
    """

    def __init__(self, spec: ModelSpec, weight: TakeWeight) -> None:
        self.spec = spec
        self.embedding = weight("embedding")
        self.layers = [DecoderLayer(spec, index, weight) for index in range(len(spec.layers))]
        self.norm = norm_weight(spec, weight("norm"))
        self.head = self.embedding if spec.tie_embeddings else weight("head")
        self.head_bias = weight("head_bias") if spec.head_bias else None
        # Gemma multiplies by sqrt(hidden_size) rounded to the weights' own dtype.
        self.scale = torch.tensor(spec.embedding_scale, dtype=self.embedding.dtype)

    @torch.inference_mode()
    def forward(self, inputs: StepInputs) -> Tensor:
        """Logits [number of sampled rows, vocab_size] in float32. Writes the step's tokens into the store."""
        hidden = functional.embedding(inputs.token_ids, self.embedding)
        if self.spec.embedding_scale != 1.0:
            hidden = hidden * self.scale.to(hidden.device)
        for layer in self.layers:
            hidden = layer.forward(hidden, inputs)
        hidden = rms_norm(hidden[inputs.sampled_rows], self.norm, self.spec.norm_eps)
        logits = linear(hidden, self.head, self.head_bias).float()
        cap = self.spec.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)


def norm_weight(model: ModelSpec, weight: Tensor) -> Tensor:
    """The factor that a norm multiplies by, in float32."""
    return weight.float() + 1.0 if model.norm_unit_offset else weight.float()
