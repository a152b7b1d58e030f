"""The description of the API: FastAPI's own, with our errors in place of its 422, and the ways to send a key."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import WithJsonSchema

from windowtax.server.errors import Json
from windowtax.server.prompts import ROLES

_TEXT: Json = {"type": "string"}
_EVENT: Json = {"type": "object", "required": ["data"], "properties": {"event": _TEXT, "data": _TEXT}}
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer; with stream: true as server-sent events.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}
"""For endpoints whose answer may be a stream."""
_PART: Json = {"type": "object", "required": ["type", "text"], "properties": {"type": {"const": "text"}, "text": _TEXT}}


def _message(roles: Sequence[str]) -> WithJsonSchema:
    content = {"anyOf": [_TEXT, {"type": "array", "items": _PART}]}
    properties = {"role": {"type": "string", "enum": list(roles)}, "content": content}
    return WithJsonSchema({"type": "object", "required": ["role", "content"], "properties": properties})


ChatMessage = Annotated[dict[str, Any], _message(ROLES)]
AnthropicMessage = Annotated[dict[str, Any], _message(("user", "assistant"))]
"""Described as clients should send them; what else they send is told where it is read."""
_OPENAI_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "windowtax": {"type": "object", "description": "Figures, such as the largest prompt that fits."},
            },
        }
    },
}
_ANTHROPIC_ERROR: Json = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
        "request_id": _TEXT,
    },
}
_SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


def describe(app: FastAPI, *, is_open: bool) -> None:
    """Lets the application describe itself so. is_open: no key is asked for."""
    made = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _ours(made(), is_open)
        return app.openapi_schema

    app.openapi = openapi


def _ours(found: Json, is_open: bool) -> Json:
    parts: Json = found.setdefault("components", {})
    schemas: Json = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= {"Error": _OPENAI_ERROR, "AnthropicError": _ANTHROPIC_ERROR}
    for path, methods in found["paths"].items():
        shape = "AnthropicError" if path.startswith("/v1/messages") else "Error"
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {
                "4XX": {"description": "What is wrong with the request, and what to do.", "content": content},
                "5XX": {"description": "What the server could not do; try again later.", "content": content},
            }
    if not is_open:
        parts["securitySchemes"] = _SECURITY
        found["security"] = [{name: []} for name in _SECURITY]
    return found
