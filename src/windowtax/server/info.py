"""What the server says of itself: health, readiness, version, models, metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from windowtax.server.errors import ApiError, Json, api_error
from windowtax.server.served import DEFAULT_NAME, Served, served_of
from windowtax.server.version import version

router = APIRouter()


@router.get("/health", response_class=Response)
@router.get("/ping", response_class=Response, include_in_schema=False)
async def health(served: Annotated[Served, Depends(served_of)]) -> Response:
    """200 and nothing else while the engine can compute; 503 with the reason where it cannot."""
    trouble = served.service.trouble
    if trouble is not None:
        raise ApiError(503, api_error(trouble).message, code="unhealthy")
    return Response()


@router.get("/ready", response_model=None)
async def ready(served: Annotated[Served, Depends(served_of)]) -> Response:
    """200 while new requests would be taken at once, 503 while the queue is full or the server is ending."""
    service = served.service
    full = service.num_waiting >= service.limits.max_waiting
    state = {
        "ready": service.trouble is None and not full,
        "running": service.num_running,
        "waiting": service.num_waiting,
    }
    return JSONResponse(state, 200 if state["ready"] else 503)


@router.get("/version")
async def say_version() -> dict[str, str]:
    """The version of windowtax."""
    return {"version": version()}


@router.get("/v1/models")
async def models(served: Annotated[Served, Depends(served_of)]) -> dict[str, Any]:
    """The served model, under each of its names."""
    found = [_model(served, name) for name in served.settings.names]
    return {
        "object": "list",
        "data": found,
        "has_more": False,
        "first_id": found[0]["id"],
        "last_id": found[-1]["id"],
    }


@router.get("/v1/models/{name:path}")
async def model(
    name: Annotated[str, Path(description="One of its names, or default.")],
    served: Annotated[Served, Depends(served_of)],
) -> dict[str, Any]:
    """One model."""
    served.check_model(name)
    return _model(served, served.name if name == DEFAULT_NAME else name)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(served: Annotated[Served, Depends(served_of)]) -> Response:
    """Prometheus metrics, as `windowtax:` and as `vllm:`."""
    await served.metrics.read()
    return Response(served.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _model(served: Served, name: str) -> Json:
    engine = served.service.engine
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": engine.model.spec.name,
        "created": served.created,
        "owned_by": "windowtax",
        "max_model_len": served.window_tokens,
        "root": engine.model.spec.name,
        "parent": None,
    }
