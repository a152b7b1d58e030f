"""The protocol of an attention kind. The file of the same name in nn/attention computes what a kind declares here."""

from abc import ABC, abstractmethod
from enum import StrEnum
from typing import ClassVar, Self

from windowtax.base.registry import Registry
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype
from windowtax.spec.weights import Weight


class Reading(StrEnum):
    """How a query comes to what is visible to it."""

    ALL = "every visible row"
    SELECTION = "a selection of the visible rows"
    """Chosen by content, or summed up in rows that stand for several tokens."""
    STATE = "a state"
    """Into which every earlier token was folded; no row of a token is read again."""
    NONE = "nothing"


class AttentionKind(ABC):
    """What one layer's attention is. Positions count from 0; a query at position p has p + 1 tokens of context."""

    kind: ClassVar[str]
    reading: ClassVar[Reading] = Reading.ALL

    @abstractmethod
    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        """What the layer keeps: one part, or several with different lives; empty where it keeps nothing."""

    def borrowed(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        """What the layer reads of the cache of another one, and does not keep itself."""
        return ()

    @abstractmethod
    def weights(self, hidden_size: int) -> tuple[Weight, ...]:
        """Its parameter tensors."""

    @abstractmethod
    def visible(self, query: int, key: int) -> bool:
        """Whether the key at one position can have a say in what the query at another one gives, in this layer."""

    @abstractmethod
    def context_read(self, context_tokens: int) -> int:
        """How many rows the last query of a context of this length reads, its own included. A selection: at most."""

    @abstractmethod
    def pairs(self, start: int, num_tokens: int) -> int:
        """How many (query, row) pairs the queries at start ... start + num_tokens - 1 read: the sum of context_read."""

    @abstractmethod
    def flops(self, start: int, num_tokens: int) -> int:
        """FLOPs of scores and weighted sums for these queries; the projections count as weights."""

    @abstractmethod
    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        """How much of a matched prefix can be used again when the blocks before `kept_from` are gone.

        0 for states: blocks hold nothing of them, a checkpoint of the state at the matched position is needed.
        """

    @abstractmethod
    def shard(self, tensor_parallel: int) -> Self:
        """The share of one rank. Raises BadInput where the heads do not divide."""


KINDS: Registry[type[AttentionKind]] = Registry("attention kind", "windowtax.spec.attention")
