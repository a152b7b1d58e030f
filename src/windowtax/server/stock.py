"""GET /v1/cache: what the pool holds, what is kept and who shares it; and emptying it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from windowtax.engine.books import books_of, forget_unused
from windowtax.server.biller import TIERS
from windowtax.server.call import Call, call_of
from windowtax.server.served import Served, served_of

router = APIRouter()
MOST_BLOCKS = 100_000


@router.get("/v1/cache")
async def cache(
    served: Annotated[Served, Depends(served_of)],
    blocks: Annotated[int, Query(ge=0, le=MOST_BLOCKS, description="List so many kept blocks, for a map of them.")] = 0,
) -> dict[str, Any]:
    """The books of the KV cache. Bytes are exact; block contents and prompts are never shown."""
    found = await asyncio.wrap_future(served.service.do(lambda engine: books_of(engine, blocks)))
    tally = served.service.tally
    found["prompt_tokens"] = tally.prompt_tokens
    found["cached_tokens_by_tier"] = {tier: tally.cached_tokens[tier] for tier in TIERS}
    found["hit_share"] = tally.cached_tokens.total() / tally.prompt_tokens if tally.prompt_tokens else 0.0
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
