"""GET /v1/cache: what the pool holds, what is kept on which tier and why requests missed it; and emptying it.

A key sees what it left, and nothing of others but sums.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.concurrency import run_in_threadpool

from windowtax.engine.books import books_of, forget_unused
from windowtax.engine.survey import cache_of, tier_sums, tiers_of
from windowtax.server.biller import TIERS
from windowtax.server.call import Call, call_of
from windowtax.server.errors import ApiError, Json
from windowtax.server.served import Served, served_of

router = APIRouter()
MOST_BLOCKS, MOST_PREFIXES, MOST_MISSES = 100_000, 1000, 64

Salt = Annotated[str, Query(max_length=1000, description="As requests give it: what was left under this salt.")]


@router.get("/v1/cache")
async def cache(
    served: Annotated[Served, Depends(served_of)],
    call: Annotated[Call, Depends(call_of)],
    blocks: Annotated[int, Query(ge=0, le=MOST_BLOCKS, description="List so many of your kept blocks.")] = 0,
    prefixes: Annotated[int, Query(ge=0, le=MOST_PREFIXES, description="List so many of your kept prefixes.")] = 20,
    after: Annotated[int, Query(ge=0, description="Begin there: `next_prefix` of the page before.")] = 0,
    cache_salt: Salt = "",
) -> dict[str, Any]:
    """The books of the KV cache, and on which tiers your prefixes lie. Bytes are exact, and everybody's."""
    salt = call.caller.salt_with(cache_salt)
    found = await asyncio.wrap_future(served.service.do(lambda engine: books_of(engine, salt, blocks)))
    tally = served.service.tally
    found["prompt_tokens"] = tally.prompt_tokens
    found["cached_tokens_by_tier"] = {tier: tally.cached_tokens[tier] for tier in TIERS}
    found["hit_share"] = tally.cached_tokens.total() / tally.prompt_tokens if tally.prompt_tokens else 0.0
    return found | await run_in_threadpool(_on_tiers, served, salt, found.get("blocks", []), prefixes, after)


@router.get("/v1/cache/explain")
async def explain_last(
    served: Annotated[Served, Depends(served_of)],
    call: Annotated[Call, Depends(call_of)],
    limit: Annotated[int, Query(ge=1, le=MOST_MISSES, description="So many of your latest requests.")] = 1,
    cache_salt: Salt = "",
) -> dict[str, Any]:
    """Why the cache held no more of your latest requests, the last one first."""
    salt = call.caller.salt_with(cache_salt)
    return {"requests": await run_in_threadpool(served.misses.last, salt, limit)}


@router.get("/v1/cache/explain/{request_id}")
async def explain_one(
    request_id: Annotated[str, Path(max_length=200, description="As the header x-request-id of the answer had it.")],
    served: Annotated[Served, Depends(served_of)],
    call: Annotated[Call, Depends(call_of)],
    cache_salt: Salt = "",
) -> dict[str, Any]:
    """Why the cache held no more of one of your requests."""
    found = await run_in_threadpool(served.misses.find, call.caller.salt_with(cache_salt), request_id)
    if found is None:
        raise ApiError(
            404,
            f"Nothing is known of a request {request_id[:200]!r} of this key and cache_salt: only the latest are kept.",
            code="request_not_found",
        )
    return found


@router.post("/reset_prefix_cache")
@router.delete("/v1/cache")
async def forget(
    served: Annotated[Served, Depends(served_of)], call: Annotated[Call, Depends(call_of)]
) -> dict[str, Any]:
    """Gives back every kept block that nobody uses."""
    count = await asyncio.wrap_future(served.service.do(forget_unused))
    call.log["forgotten_blocks"] = count
    return {"forgotten_blocks": count}


def _on_tiers(served: Served, salt: str, blocks: list[Json], limit: int, after: int) -> Json:
    """Where the listed blocks lie, and a page of the tenant's prefixes."""
    cache = cache_of(served.service.engine)
    if cache is None:
        return {}
    for block in blocks:
        block["tiers"] = tiers_of(cache, bytes.fromhex(block["block"]))
    made = served.surveyor.survey(cache) if limit else None
    found: Json = {"tiers": tier_sums(cache)}
    if made is not None:
        listed, following = made.page(salt, after, limit, served.tokenizer.decode)
        found |= {"prefixes": listed, "next_prefix": following, "prefixes_as_of_s": made.made_s}
    return found
