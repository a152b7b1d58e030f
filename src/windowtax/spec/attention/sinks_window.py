"""Sinks and a window: the first few tokens, and the last ones (StreamingLLM; Xiao et al. 2024, arXiv 2309.17453).

A lever over full attention as well as a trained kind. The window counts the query's own token, and the sinks come on
top: sinks:4+window:4096 keeps 4,100 tokens. What lies between is dropped, and is not recalled.
"""

from dataclasses import dataclass
from typing import ClassVar

from windowtax.spec.attention.base import KINDS
from windowtax.spec.attention.softmax import SoftmaxAttention
from windowtax.spec.attention.sums import read_pairs
from windowtax.spec.cache import LayerCache
from windowtax.spec.dtypes import CacheDtype


@KINDS.register("sinks_window")
@dataclass(frozen=True, kw_only=True)
class SinksWindowAttention(SoftmaxAttention):
    """Causal attention over the first `sink_tokens` tokens and the last `window_tokens`."""

    kind: ClassVar[str] = "sinks_window"
    sink_tokens: int
    window_tokens: int

    @property
    def window(self) -> int | None:
        return self.window_tokens

    @property
    def chunk(self) -> int | None:
        return None

    def caches(self, dtype: CacheDtype) -> tuple[LayerCache, ...]:
        planes, sinks = self.kv_planes(dtype), self.sink_tokens
        window = LayerCache(planes, window=self.window_tokens, skip_first=sinks)
        rows = (LayerCache(planes, keep_first=sinks), window) if sinks else (window,)
        return (*rows, *self.tail(dtype))

    def visible(self, query: int, key: int) -> bool:
        return key <= query and (key < self.sink_tokens or key > query - self.window_tokens)

    def context_read(self, context_tokens: int) -> int:
        return min(context_tokens, self.sink_tokens + self.window_tokens)

    def pairs(self, start: int, num_tokens: int) -> int:
        return read_pairs(start, num_tokens, cap=self.sink_tokens + self.window_tokens)

    def reusable_prefix(self, matched_tokens: int, kept_from: int) -> int:
        oldest = 0 if self.sink_tokens else max(0, matched_tokens - self.window_tokens + 1)
        return matched_tokens if kept_from <= oldest else 0
