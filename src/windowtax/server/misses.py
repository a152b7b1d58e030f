"""Why a prompt was not read from the cache as far as it could have been: which token, from where, and what it cost."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from windowtax.engine.request import Request
from windowtax.engine.tokenizer import Tokenizer
from windowtax.server.biller import Biller
from windowtax.server.errors import Json
from windowtax.server.parts import PromptParts

log = logging.getLogger("windowtax.cache")

LOGGED_TOKENS = 256
"""A miss that lost so many tokens or more gets a line in the log."""
_AROUND_TOKENS = 12
_MOST_OF_A_TENANT, _MOST_TENANTS = 64, 64
_LOGGED = (
    "request_id", "key", "endpoint", "reason", "where", "position", "kept_token", "token", "prompt_tokens",
    "cached_tokens", "lost_tokens", "lost_s_estimate", "lost_usd", "lost_usd_api", "api",
)  # fmt: skip


def explain(tokenizer: Tokenizer, biller: Biller, request: Request, parts: PromptParts) -> Json | None:
    """The miss of a request; None before it was scheduled, and where nothing is kept. Seconds are an estimate.

    Slow for long prompts: their text is made again, and compared with what is kept.
    """
    miss = request.miss
    if miss is None:
        return None
    prompt = request.sequence.token_ids[: request.sequence.num_prompt_tokens]
    lost = miss.lost_tokens(prompt)
    computed = max(0, len(prompt) - 1 - request.num_cached_tokens)
    rate = biller.prefill_s_per_token(request)
    lost_s = None if rate is None else lost * rate
    around = prompt[max(0, miss.position - _AROUND_TOKENS) : miss.position]
    kept = [token for block in miss.kept_after[:_AROUND_TOKENS] for token in block][:_AROUND_TOKENS]
    return {
        "prompt_tokens": len(prompt),
        "cached_tokens": request.num_cached_tokens,
        "reason": miss.reason.name.lower(),
        "meaning": str(miss.reason),
        "position": miss.position,
        "where": parts.at(len(tokenizer.decode(prompt[: miss.position], False))),
        "after": tokenizer.decode(around, False),
        "kept_token": None if miss.kept_token is None else tokenizer.token_text(miss.kept_token),
        "token": None if miss.token is None else tokenizer.token_text(miss.token),
        "kept_text": tokenizer.decode(kept, False) if kept else None,
        "text": tokenizer.decode(prompt[miss.position : miss.position + _AROUND_TOKENS], False),
        "computed_tokens": computed,
        "computed_s_estimate": None if rate is None else computed * rate,
        "lost_tokens": lost,
        "lost_s_estimate": lost_s,
        "lost_usd": biller.own_usd(lost_s),
        "lost_usd_api": biller.uncached_usd(len(prompt), request.num_cached_tokens, lost),
        "api": biller.api,
    }


class Misses:
    """What was found of the latest requests, by tenant: nobody finds what another one's request left.

    A thread of its own explains them, so that no other request waits for that. Bounded: the last requests of the last
    tenants are kept, as texts of a few lines.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, OrderedDict[str, Json]] = OrderedDict()
        self._worker = ThreadPoolExecutor(1, "misses")

    def add(self, tenant: str, call: Json, explained: Callable[[], Sequence[Json]]) -> None:
        """Explains a call and keeps that; a miss of size is logged. call: what else is known, and its request_id.

        Of a call with several prompts the second is kept as "ID.2", and so on.
        """
        self._worker.submit(self._add, tenant, call, explained)

    def last(self, tenant: str, count: int) -> list[Json]:
        """A tenant's latest requests, the last one first. Waits for those that are just being explained."""
        return self._asked(lambda: list(reversed(self._kept.get(tenant, OrderedDict()).values()))[:count])

    def find(self, tenant: str, request_id: str) -> Json | None:
        """A request of this tenant; None where it has none of that name, or not any more."""
        found = self._asked(lambda: [one] if (one := self._kept.get(tenant, {}).get(request_id)) else [])
        return found[0] if found else None

    def _asked(self, look: Callable[[], Sequence[Json]]) -> list[Json]:
        done: Future[Sequence[Json]] = self._worker.submit(look)
        return list(done.result())

    def _add(self, tenant: str, call: Json, explained: Callable[[], Sequence[Json]]) -> None:
        try:
            found = explained()
        except Exception:
            log.exception("a miss could not be explained", extra={"facts": {"request_id": call["request_id"]}})
            return
        for number, miss in enumerate(found, 1):
            name = call["request_id"] if number == 1 else f"{call['request_id']}.{number}"
            self._keep(tenant, call | miss | {"request_id": name})

    def _keep(self, tenant: str, record: Json) -> None:
        mine = self._kept.setdefault(tenant, OrderedDict())
        self._kept.move_to_end(tenant)
        mine[record["request_id"]] = record
        mine.move_to_end(record["request_id"])
        for kept, most in ((mine, _MOST_OF_A_TENANT), (self._kept, _MOST_TENANTS)):
            while len(kept) > most:
                kept.popitem(last=False)
        if record["lost_tokens"] >= LOGGED_TOKENS:
            log.info("prefix missed", extra={"facts": {name: record[name] for name in _LOGGED}})
