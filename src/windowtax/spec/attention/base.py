"""The protocol of an attention kind. The file of the same name in nn/attention computes what a kind declares here."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from windowtax.base.registry import Registry
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight


class AttentionKind(ABC):
    """What one layer's attention is. Positions count from 0; a query at position p has p + 1 tokens of context."""

    kind: ClassVar[str]

    @abstractmethod
    def cache(self, dtype: CacheDtype) -> LayerCache:
        """What the layer keeps of every token."""

    @abstractmethod
    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Its parameter tensors."""

    @abstractmethod
    def visible(self, query: int, key: int) -> bool:
        """Whether the query at one position may read the key at another."""

    @abstractmethod
    def context_read(self, context_tokens: int) -> int:
        """How many tokens the last query of a context of this length reads, itself included."""

    @abstractmethod
    def pairs(self, start: int, num_tokens: int) -> int:
        """How many (query, key) pairs are visible to the queries at start ... start + num_tokens - 1."""

    @abstractmethod
    def flops(self, start: int, num_tokens: int) -> int:
        """FLOPs of scores and weighted sums for these queries; the projections count as weights."""

    @abstractmethod
    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        """How much of a matched prefix can be used again when the blocks before `kept_from` are gone."""

    @abstractmethod
    def shard(self, tensor_parallel: int) -> Self:
        """The share of one rank. Raises BadInput where the heads do not divide."""


KINDS: Registry[type[AttentionKind]] = Registry("attention kind", "windowtax.spec.attention")
