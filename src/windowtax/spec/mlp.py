"""Feed-forward parts of a layer: gated, and mixtures of gated experts."""

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
class ExpertsMlp(Mlp):
    """A router that sends each token to `top_k` of `num_experts` gated experts, and experts that all tokens share.

    expert_bias: biases in the experts' projections; router_bias: one per expert. shared_gate: a learned gate of one
    number on the shared expert (Qwen2-MoE). shared_intermediate_size: 0 for no shared expert.
    """

    num_experts: int
    top_k: int
    intermediate_size: int
    activation: str
    shared_intermediate_size: int = 0
    shared_gate: bool = False
    expert_bias: bool = False
    router_bias: bool = False

    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        experts, inner, share = self.num_experts, self.intermediate_size, Fraction(self.top_k, self.num_experts)
        found = [
            Weight("router", (experts, hidden_size)),
            Weight("experts.gate", (experts, inner, hidden_size), share),
            Weight("experts.up", (experts, inner, hidden_size), share),
            Weight("experts.down", (experts, hidden_size, inner), share),
        ]
        if self.router_bias:
            found.append(Weight("router_bias", (experts,)))
        if self.expert_bias:
            found += [Weight("experts.gate_up_bias", (experts * 2 * inner,), share)]
            found += [Weight("experts.down_bias", (experts * hidden_size,), share)]
        if self.shared_intermediate_size:
            shared = GatedMlp(intermediate_size=self.shared_intermediate_size, activation=self.activation)
            found += [weight.under("shared") for weight in shared.weights(hidden_size)]
        if self.shared_gate:
            found.append(Weight("shared_gate", (1, hidden_size)))
        return tuple(found)
