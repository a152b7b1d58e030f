"""The protocol of a computed attention kind, and the registry that pairs it with its declaration."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from windowtax.base.registry import Registry
from windowtax.nn.inputs import StepInputs
from windowtax.spec.attention.base import AttentionKind


class Attention(ABC):
    """One layer's attention. Built from its declaration and its weights, by the names that the declaration gives."""

    @abstractmethod
    def __init__(self, spec: AttentionKind, layer: int, weights: Mapping[str, Tensor], norm_eps: float) -> None: ...

    @abstractmethod
    def forward(self, hidden: Tensor, inputs: StepInputs) -> Tensor:
        """hidden [T, hidden_size] -> [T, hidden_size]; writes the step's tokens into the store first."""


ATTENTION: Registry[type[Attention]] = Registry("computed attention kind", "windowtax.nn.attention")
