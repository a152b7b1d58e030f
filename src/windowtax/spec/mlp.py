"""Feed-forward parts of a layer: gated or plain, mixtures of experts, both side by side, or none."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction

from windowtax.spec.weights import Weight


class Mlp(ABC):
    """The feed-forward part of a layer."""

    @abstractmethod
    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Its parameter tensors."""


@dataclass(frozen=True, kw_only=True)
class GatedMlp(Mlp):
    """down(activation(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202). activation: "silu" or "gelu_tanh"."""

    intermediate_size: int
    activation: str
    bias: bool = False

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        inner = self.intermediate_size
        found = [
            Weight("gate", (inner, hidden_size)),
            Weight("up", (inner, hidden_size)),
            Weight("down", (hidden_size, inner)),
        ]
        if self.bias:
            found += [Weight("gate_bias", (inner,)), Weight("up_bias", (inner,)), Weight("down_bias", (hidden_size,))]
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class PlainMlp(Mlp):
    """down(activation(up(x))), without a gate (Nemotron-H). activation: "relu2", the square of relu."""

    intermediate_size: int
    activation: str
    bias: bool = False

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        inner = self.intermediate_size
        found = (Weight("up", (inner, hidden_size)), Weight("down", (hidden_size, inner)))
        return (*found, Weight("up_bias", (inner,)), Weight("down_bias", (hidden_size,))) if self.bias else found


@dataclass(frozen=True, kw_only=True)
class NoMlp(Mlp):
    """No feed-forward part, or one that was replaced by a square matrix. linear: the latter (Nemotron-NAS)."""

    linear: bool = False

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return (Weight("linear", (hidden_size, hidden_size)),) if self.linear else ()


@dataclass(frozen=True, kw_only=True)
class ExpertsMlp(Mlp):
    """A router that sends each token to `top_k` of `num_experts` experts, and experts that all tokens share.

    expert_bias: biases in the experts' projections; router_bias: one per expert. shared_gate: a learned gate of one
    number on the shared expert (Qwen2-MoE). shared_intermediate_size: 0 for no shared expert. gated: whether experts
    are gated. latent_size: experts work in a narrower space, with one projection into it and one out (Nemotron-3).
    hashed_vocab: tokens of so many ids go to experts by a table instead of by score (DeepSeek-V4's first layers).
    """

    num_experts: int
    top_k: int
    intermediate_size: int
    activation: str
    shared_intermediate_size: int = 0
    shared_gate: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    gated: bool = True
    latent_size: int | None = None
    hashed_vocab: int = 0

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        experts, inner, share = self.num_experts, self.intermediate_size, Fraction(self.top_k, self.num_experts)
        width = self.latent_size or hidden_size
        found = [
            Weight("router", (experts, hidden_size)),
            *([Weight("experts.gate", (experts, inner, width), share)] if self.gated else []),
            Weight("experts.up", (experts, inner, width), share),
            Weight("experts.down", (experts, width, inner), share),
        ]
        if self.latent_size:
            found += [Weight("latent_in", (width, hidden_size)), Weight("latent_out", (hidden_size, width))]
        if self.hashed_vocab:
            table = (self.hashed_vocab * self.top_k,)
            found.append(Weight("router_table", table, Fraction(1, self.hashed_vocab)))
        if self.router_bias:
            found.append(Weight("router_bias", (experts,)))
        if self.expert_bias:
            found += [Weight("experts.gate_up_bias", (experts * 2 * inner,), share)]
            found += [Weight("experts.down_bias", (experts * hidden_size,), share)]
        if self.shared_intermediate_size:
            kind = GatedMlp if self.gated else PlainMlp
            shared = kind(intermediate_size=self.shared_intermediate_size, activation=self.activation)
            found += [weight.under("shared") for weight in shared.weights(hidden_size)]
        if self.shared_gate:
            found.append(Weight("shared_gate", (1, hidden_size)))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ParallelMlp(Mlp):
    """A dense part and experts side by side, added up, with norms and scales of their own (Gemma 4 with experts)."""

    dense: GatedMlp
    experts: ExpertsMlp

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        return (
            *self.dense.weights(hidden_size),
            *self.experts.weights(hidden_size),
            Weight("router_scale", (hidden_size,)),
            Weight("expert_scale", (self.experts.num_experts,)),
            *(Weight(name, (hidden_size,)) for name in ("dense_post_norm", "experts_norm", "experts_post_norm")),
        )
