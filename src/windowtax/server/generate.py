"""One call's generation: its requests go to the engine, news of them come back, and the books are kept."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

from fastapi import Request as HttpRequest

from windowtax.base.errors import WindowtaxError
from windowtax.engine.logprobs import TokenLogprob
from windowtax.engine.news import Box, Failed, Finished, News, Text
from windowtax.engine.request import FinishReason, Request
from windowtax.engine.sampling import SamplingParams
from windowtax.engine.service import Ticket
from windowtax.server.biller import CallBill
from windowtax.server.call import Call
from windowtax.server.errors import ApiError, Json, api_error
from windowtax.server.ledger import Entry
from windowtax.server.misses import explain
from windowtax.server.normalize import logged
from windowtax.server.parts import PromptParts
from windowtax.server.served import Served

PREFIX_TOKENS = 256
"""Tokens of a prompt's beginning by which the ledger sums."""
MOST_EXPLAINED = 16
"""Of a call's prompts, how many are compared with what was kept: that is slow."""
_WORDS_CHARACTERS = 80
_LOOK_S = 0.5
"""How often somebody looks whether the client of a waiting call is still there."""


class ClientGone(Exception):
    """The client closed the connection; nobody waits for an answer."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is to be generated: for each prompt, one answer per entry of `params`. salt: as the client gave it.

    parts: where the parts of the first prompt are. explain: whether the client wants to know why it was not cached.
    normalized: what --normalize changed in it.
    """

    endpoint: str
    prompts: Sequence[list[int]]
    params: Sequence[SamplingParams]
    salt: str = ""
    priority: int = 0
    timeout_s: float | None = None
    parts: Callable[[], PromptParts] = PromptParts.whole
    explain: bool = False
    normalized: Sequence[Json] = ()


@dataclass
class _Pace:
    """When a choice's tokens came, for the metrics."""

    last: float | None = None


@dataclass
class Generation:
    """Started, heard, closed: whatever happens meanwhile, its requests end with it, and the books are kept."""

    served: Served
    call: Call
    ask: Ask
    box: Box = field(default_factory=Box)
    tickets: list[Ticket] = field(default_factory=list)
    requests: dict[int, Request] = field(default_factory=dict)
    outcome: str = "cancelled"
    began: float = field(default_factory=time.perf_counter)
    _paces: dict[int, _Pace] = field(default_factory=dict)
    _misses: list[Json] | None = None

    def start(self) -> "Generation":
        """Hands the requests in; `close` must follow. Raises ApiError where a limit or the queue says no."""
        ask, caller = self.ask, self.call.caller
        salt = caller.salt_with(ask.salt)
        caller.admit()
        try:
            for place, prompt in enumerate(ask.prompts):
                for choice, params in enumerate(ask.params):
                    ticket = self.served.service.submit(
                        prompt,
                        params,
                        box=self.box,
                        index=place * len(ask.params) + choice,
                        salt=salt,
                        priority=ask.priority,
                        timeout_s=ask.timeout_s,
                    )
                    self.tickets.append(ticket)
        except WindowtaxError as error:
            self.close()
            raise api_error(error) from None
        return self

    def close(self, error: ApiError | None = None) -> None:
        """Ends what is still running, and books the call. error: what the client was told, if so."""
        for ticket in self.tickets:
            if ticket.index not in self.requests:
                self.served.service.cancel(ticket)
        if error is not None:
            self.outcome = error.code or f"error {error.status}"
        self._book()

    async def news(self) -> AsyncIterator[News | None]:
        """News of all choices, until all have ended; None where nothing was heard for a while.

        Raises ApiError where one of them fails: the others are then for nobody.
        """
        left = len(self.tickets)
        while left:
            news = await self.box.next(self.served.settings.keep_alive_s)
            if isinstance(news, Failed):
                if news.request is not None:
                    self.requests[news.index] = news.request
                raise api_error(news.error)
            if isinstance(news, Text):
                self._observe(news)
            elif isinstance(news, Finished):
                left -= 1
                self.requests[news.index] = news.request
                self.outcome = str(news.reason)
            yield news

    async def collect(self, http: HttpRequest) -> list["Answer"]:
        """All answers, whole; closed afterwards. Raises ApiError; ClientGone where the client leaves before."""
        answers = [Answer() for _ in self.tickets]
        watch, reading = asyncio.create_task(_gone(http)), asyncio.create_task(self._fill(answers))
        failure: ApiError | None = None
        try:
            await asyncio.wait({watch, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise ClientGone
            reading.result()
        except ApiError as error:
            failure = error
            raise
        finally:
            for task in (watch, reading):
                task.cancel()
            await asyncio.gather(watch, reading, return_exceptions=True)
            self.close(failure)
        return answers

    async def _fill(self, answers: list["Answer"]) -> None:
        async for news in self.news():
            if isinstance(news, Text):
                answers[news.index].add(news)
            elif isinstance(news, Finished):
                answers[news.index].finish_reason = news.reason

    def bill(self) -> CallBill:
        """The bill of what has been computed so far."""
        bill = self.served.biller.bill(self._known())
        if self.ask.explain and not self._misses:
            self._misses = self._explained()
        return replace(bill, misses=self._misses or (), normalized=self.ask.normalized)

    def _explained(self) -> list[Json]:
        """Why the cache held no more: of each prompt, of very many the first `MOST_EXPLAINED`."""
        served, parts = self.served, self.ask.parts()
        first = [requests[0] for requests in self._known()[:MOST_EXPLAINED]]
        found = [explain(served.tokenizer, served.biller, request, parts) for request in first]
        return [miss for miss in found if miss is not None]

    def _known(self) -> list[list[Request]]:
        """The engine's requests, prompt by prompt; those that it never took are not there."""
        known: dict[int, list[Request]] = {}
        for ticket in self.tickets:
            request = self.requests.get(ticket.index) or ticket.request
            if request is not None:
                known.setdefault(ticket.index // len(self.ask.params), []).append(request)
        return list(known.values())

    def _observe(self, news: Text) -> None:
        now, pace = time.perf_counter(), self._paces.setdefault(news.index, _Pace())
        metrics = self.served.metrics
        if pace.last is None:
            metrics.ttft.observe(now - self.began)
        else:
            for _ in news.token_ids:
                metrics.itl.observe((now - pace.last) / len(news.token_ids))
        pace.last = now

    def _book(self) -> None:
        if not self._known():
            return
        bill, metrics, caller = self.bill(), self.served.metrics, self.call.caller
        caller.spend(bill.prompt_tokens + bill.output_tokens)
        metrics.e2e.observe(time.perf_counter() - self.began)
        metrics.queue.observe(bill.queue_s)
        metrics.prefill.observe(bill.prefill_s)
        metrics.decode.observe(bill.decode_s)
        metrics.prompt.observe(bill.prompt_tokens)
        metrics.output.observe(bill.output_tokens)
        metrics.own_usd += bill.own_usd or 0.0
        metrics.api_usd += bill.api_usd
        self.call.log |= {
            "outcome": self.outcome,
            "prompt_tokens": bill.prompt_tokens,
            "cached_tokens": bill.num_cached_tokens,
            "output_tokens": bill.output_tokens,
            "cache_miss": self._miss_name(),
            "queue_s": round(bill.queue_s, 6),
            "prefill_s": round(bill.prefill_s, 6),
            "decode_s": round(bill.decode_s, 6),
        }
        known: Json = {
            "request_id": self.call.request_id,
            "key": caller.name,
            "endpoint": self.ask.endpoint,
            "normalized": list(self.ask.normalized),
        }
        if self.ask.normalized:
            self.call.log["normalized"] = logged(self.ask.normalized)
        self.served.misses.add(caller.salt_with(self.ask.salt), known, self._explained)
        if self.served.ledger is not None:
            self.served.ledger.add(self._entry(bill))

    def _miss_name(self) -> str | None:
        miss = self._known()[0][0].miss
        return None if miss is None else f"{miss.reason.name.lower()} at {miss.position}"

    def _entry(self, bill: CallBill) -> Entry:
        first = self.ask.prompts[0][:PREFIX_TOKENS]
        name = hashlib.blake2b(b"".join(token.to_bytes(4, "little") for token in first), digest_size=8).hexdigest()
        words = " ".join(self.served.tokenizer.decode(first[:64]).split())[:_WORDS_CHARACTERS]
        return Entry(
            request_id=self.call.request_id, key=self.call.caller.name, endpoint=self.ask.endpoint,
            model=self.served.name, outcome=self.outcome, prefix=name, words=words, bill=bill,
        )  # fmt: skip


@dataclass
class Answer:
    """One choice, as far as it is known."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish_reason: FinishReason | None = None

    def add(self, news: Text) -> None:
        """Takes more of it."""
        self.text += news.text
        self.token_ids += news.token_ids
        self.logprobs += news.logprobs


async def _gone(http: HttpRequest) -> None:
    """Returns when the client has left."""
    while not await http.is_disconnected():
        await asyncio.sleep(_LOOK_S)
