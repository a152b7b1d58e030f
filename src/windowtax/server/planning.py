"""GET and POST /v1/plan: what another window, model or machine would take, asked of the running server."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from windowtax.plan.contract import plan_json
from windowtax.server.errors import ApiError, Json
from windowtax.server.served import Served, served_of

router = APIRouter()


@router.get("/v1/plan")
async def plan(http: Request, served: Annotated[Served, Depends(served_of)]) -> dict[str, Any]:
    """A plan; fields are named as the options of `windowtax plan`, and are as at the start where they are left out."""
    return await _planned(served, dict(http.query_params))


@router.post("/v1/plan")
async def plan_of(body: dict[str, Any], served: Annotated[Served, Depends(served_of)]) -> dict[str, Any]:
    """The same, with the fields in a JSON object."""
    typed = {name: "yes" if value is True else "" if value in (None, False) else value for name, value in body.items()}
    wrong = [name for name, value in typed.items() if not isinstance(value, str | int | float)]
    if wrong:
        raise ApiError(400, f"{wrong[0][:80]} must be a text or a number.", param=wrong[0][:80])
    return await _planned(served, {name: str(value) for name, value in typed.items()})


async def _planned(served: Served, typed: Mapping[str, str]) -> Json:
    if served.planner is None:
        raise ApiError(404, "This server does not plan: its model is not described by files that plans read.")
    planner = served.planner

    def make() -> Json:
        form = planner.start.read(typed)
        made = planner.plan(form)
        return {"question": form.values(), "command": form.words(), **plan_json(made, planner.api(form, made))}

    return await run_in_threadpool(make)
