"""What a request's owner hears of it, and the box where it waits for its reader; with one writer and one reader."""

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, replace

from windowtax.base.errors import WindowtaxError
from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.request import FinishReason, Request

DEFAULT_BOX_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Tokens of the prompt that are computed, found in the cache ones included. index: which of the box's requests."""

    index: int
    num_computed_tokens: int
    num_cached_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Tokens that were sampled, and the text that is certain with them (it may be behind by some tokens).

    logprobs: of these tokens, where the request wants them.
    """

    index: int
    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last news of a request that ran to its end."""

    index: int
    reason: FinishReason
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The last news of a request that did not. request: None where the engine never took it."""

    index: int
    error: WindowtaxError
    request: Request | None = None


News = Progress | Text | Finished | Failed


class Box:
    """News in order, bounded: where a reader is slow, neighbours are put together, so nothing is lost.

    The engine's thread never blocks here. One reader, a thread or an asyncio task.
    """

    def __init__(self, size: int = DEFAULT_BOX_SIZE) -> None:
        self._size = size
        self._news: deque[News] = deque()
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._news)

    def put(self, news: News) -> None:
        """Files news. Any thread."""
        with self._changed:
            if len(self._news) >= self._size:
                self._squeeze()
            self._news.append(news)
            self._changed.notify()
            loop, wake = self._loop, self._wake
        if loop is not None and wake is not None and not loop.is_closed():
            loop.call_soon_threadsafe(wake.set)

    def get(self, timeout_s: float | None = None) -> News | None:
        """The next news, for threads; None where there is none within the time."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._news), timeout_s)
            return self._news.popleft() if self._news else None

    async def next(self, timeout_s: float | None = None) -> News | None:
        """The next news, for asyncio; None where there is none within the time."""
        if self._wake is None:
            with self._changed:
                self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        while True:
            self._wake.clear()
            with self._changed:
                if self._news:
                    return self._news.popleft()
            try:
                await asyncio.wait_for(self._wake.wait(), timeout_s)
            except TimeoutError:
                return None

    def _squeeze(self) -> None:
        """Puts together what belongs together, request by request."""
        kept: dict[tuple[int, type], News] = {}
        ends: list[News] = []
        for news in self._news:
            key = (news.index, type(news))
            before = kept.get(key)
            if isinstance(news, Text) and isinstance(before, Text):
                kept[key] = replace(
                    before,
                    token_ids=before.token_ids + news.token_ids,
                    text=before.text + news.text,
                    logprobs=before.logprobs + news.logprobs,
                )
            elif isinstance(news, Progress | Text):
                kept[key] = news
            else:
                ends.append(news)
        self._news = deque([*kept.values(), *ends])
