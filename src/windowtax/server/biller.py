"""The bill of a request, small enough to ride in `usage`: bytes, seconds, dollars, and what the cache saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from windowtax.engine.request import Request
from windowtax.engine.tally import Tally
from windowtax.price.api import PriceList, bill_of
from windowtax.price.lists import price_sheet
from windowtax.price.own import usd_for_seconds
from windowtax.price.sheet import PriceSheet, Usage
from windowtax.server.errors import Json

TIERS = ("device", "host", "disk")


@dataclass(frozen=True, kw_only=True)
class CallBill:
    """One call, its choices together. Times in s; prompt tokens are counted once, computing once per choice.

    ttft_s: from arrival to the first token of any choice. tpot_s: of each further token, the mean over choices.
    num_moves: preemptions after which what was computed waited in host RAM; moved_bytes: copied back from there;
    recomputed_tokens: computed again after the others.
    miss: why the cache held no more of the prompt, where that was asked for. normalized: what --normalize changed.
    recompute_avoided_s: cached tokens, at what a prompt token has taken on this server so far; None before it knows.
    """

    prompt_tokens: int
    output_tokens: int
    cached_tokens: dict[str, int]
    kv_peak_bytes: int
    kv_byte_seconds: float
    ttft_s: float | None
    tpot_s: float | None
    queue_s: float
    prefill_s: float
    decode_s: float
    compute_s: float
    recompute_avoided_tokens: int
    recompute_avoided_s: float | None
    own_usd: float | None
    api_usd: float
    api: str
    num_preemptions: int
    num_moves: int
    moved_bytes: int
    recomputed_tokens: int
    misses: Sequence[Json] = ()
    normalized: Sequence[Json] = ()

    @property
    def num_cached_tokens(self) -> int:
        """Of the prompt, found in the cache."""
        return sum(self.cached_tokens.values())

    def record(self) -> Json:
        """The vendor object in `usage`."""
        explained: Json = {"miss": self.misses[0]} if len(self.misses) == 1 else {}
        if len(self.misses) > 1:
            explained["misses"] = list(self.misses)
        if self.normalized:
            explained["normalized"] = list(self.normalized)
        return explained | {
            "cached_tokens_by_tier": self.cached_tokens,
            "kv_peak_bytes": self.kv_peak_bytes,
            "kv_byte_seconds": self.kv_byte_seconds,
            "recompute_avoided_tokens": self.recompute_avoided_tokens,
            "recompute_avoided_s": self.recompute_avoided_s,
            "ttft_s": self.ttft_s,
            "tpot_s": self.tpot_s,
            "queue_s": self.queue_s,
            "prefill_s": self.prefill_s,
            "decode_s": self.decode_s,
            "compute_s": self.compute_s,
            "preemptions": self.num_preemptions,
            "preemptions_moved": self.num_moves,
            "preemption_moved_bytes": self.moved_bytes,
            "preemption_recomputed_tokens": self.recomputed_tokens,
            "usd": self.own_usd,
            "usd_api": self.api_usd,
            "api": self.api,
        }


class Biller:
    """Makes bills. usd_per_hour: of this machine; None where nobody said. price_list: the API to compare with."""

    def __init__(self, tally: Tally, price_list: PriceList, usd_per_hour: float | None) -> None:
        self._tally = tally
        self._list = price_list
        self.usd_per_hour = usd_per_hour
        _sheet(price_list, date.today())  # a name that is no price list is told at the start

    def bill(self, prompts: Sequence[Sequence[Request]]) -> CallBill:
        """The bill of a call, finished or not. prompts: for each, the requests of its choices."""
        requests = [request for choices in prompts for request in choices]
        tiers: dict[str, int] = dict.fromkeys(TIERS, 0)
        usd_api = 0.0
        for choices in prompts:
            first = choices[0]
            for tier, tokens in first.cached_tokens_by_tier.items():
                tiers[tier] += tokens
            usd_api += self._api_usd(first, sum(len(request.output_ids) for request in choices))
        compute_s = sum(request.meter.prefill_s + request.meter.decode_s for request in requests)
        ttfts = [found for request in requests if (found := request.meter.ttft_s) is not None]
        tpots = [found for one in requests if (found := one.meter.tpot_s(len(one.output_ids))) is not None]
        rate = self._tally.prefill_s_per_token
        avoided = sum(request.num_cached_tokens for request in requests)
        return CallBill(
            prompt_tokens=sum(choices[0].sequence.num_prompt_tokens for choices in prompts),
            output_tokens=sum(len(request.output_ids) for request in requests),
            cached_tokens=tiers,
            kv_peak_bytes=sum(request.meter.peak_bytes for request in requests),
            kv_byte_seconds=sum(request.meter.byte_seconds for request in requests),
            ttft_s=min(ttfts, default=None),
            tpot_s=sum(tpots) / len(tpots) if tpots else None,
            queue_s=max(_queue_s(request) for request in requests),
            prefill_s=max(_prefill_s(request) for request in requests),
            decode_s=max(_decode_s(request) for request in requests),
            compute_s=compute_s,
            recompute_avoided_tokens=avoided,
            recompute_avoided_s=None if rate is None else rate * avoided,
            own_usd=self.own_usd(compute_s),
            api_usd=usd_api,
            api=self.api,
            num_preemptions=sum(request.sequence.num_preemptions for request in requests),
            num_moves=sum(request.sequence.num_moves for request in requests),
            moved_bytes=sum(request.sequence.moved_bytes for request in requests),
            recomputed_tokens=sum(request.sequence.num_recomputed_tokens for request in requests),
        )

    @property
    def api(self) -> str:
        """The API that is compared with."""
        return str(self._list)

    def own_usd(self, seconds: float | None) -> float | None:
        """Seconds of this machine in dollars; None where either is not known."""
        if seconds is None or self.usd_per_hour is None:
            return None
        return usd_for_seconds(self.usd_per_hour, seconds)

    def uncached_usd(self, prompt_tokens: int, cached_tokens: int, lost_tokens: int) -> float:
        """What `lost_tokens` of a prompt cost more at the API as fresh input than read from its cache."""
        found, hoped = (
            Usage(prompt_tokens=prompt_tokens, cached_tokens=min(prompt_tokens, cached_tokens + more))
            for more in (0, lost_tokens)
        )
        sheet = _sheet(self._list, date.today())
        return float(bill_of(sheet, found).total_usd - bill_of(sheet, hoped).total_usd)

    def prefill_s_per_token(self, request: Request) -> float | None:
        """Of this request, or where it computed too few tokens to tell, of this server; None where unknown."""
        own = request.meter.prefill_s_per_token
        return self._tally.prefill_s_per_token if own is None else own

    def _api_usd(self, request: Request, output_tokens: int) -> float:
        """One prompt and its answers at the API, with what was cached here cached there."""
        usage = Usage(
            prompt_tokens=request.sequence.num_prompt_tokens,
            output_tokens=output_tokens,
            cached_tokens=request.num_cached_tokens,
        )
        return float(bill_of(_sheet(self._list, date.today()), usage).total_usd)


@lru_cache(maxsize=8)
def _sheet(price_list: PriceList, day: date) -> PriceSheet:
    """The prices of one day; `day` is what makes the cache forget them."""
    return price_sheet(price_list.provider, price_list.model, None, "standard")


def _queue_s(request: Request) -> float:
    meter = request.meter
    end = meter.first_scheduled if meter.first_scheduled is not None else meter.finished
    return 0.0 if end is None else end - meter.arrived


def _prefill_s(request: Request) -> float:
    meter = request.meter
    end = meter.first_token if meter.first_token is not None else meter.finished
    return 0.0 if end is None or meter.first_scheduled is None else end - meter.first_scheduled


def _decode_s(request: Request) -> float:
    meter = request.meter
    return 0.0 if meter.finished is None or meter.first_token is None else meter.finished - meter.first_token
