"""Errors as clients expect them: one type inside, OpenAI's or Anthropic's shape outside."""

from typing import Any

from windowtax.base.errors import DoesNotFit, WindowtaxError
from windowtax.engine.service import Overloaded, ShuttingDown, StepFailed, TookTooLong

Json = dict[str, Any]

_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """An answer that is an error. code, param: as in OpenAI's shape. details: our own figures, under `windowtax`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        details: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.details = details

    def body(self, path: str, request_id: str) -> Json:
        """The JSON body, in the shape that the caller of this path expects."""
        return self._anthropic(request_id) if path.startswith("/v1/messages") else self._openai()

    def _openai(self) -> Json:
        error: Json = {
            "message": self.message,
            "type": _OPENAI_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error"),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error if self.details is None else error | {"windowtax": self.details}}

    def _anthropic(self, request_id: str) -> Json:
        kind = _ANTHROPIC_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error: Json = {"type": kind, "message": self.message}
        if self.details is not None:
            error["windowtax"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}


def bad_field(param: str, message: str, code: str | None = None) -> ApiError:
    """400, about one field of the request."""
    return ApiError(400, message, param=param, code=code)


def api_error(error: WindowtaxError) -> ApiError:
    """What a client is told of an error of ours."""
    text = f"{error.message} {error.hint}".strip()
    if isinstance(error, Overloaded):
        return ApiError(429, text, code="queue_full", headers={"Retry-After": f"{error.retry_after_s:.0f}"})
    if isinstance(error, ShuttingDown):
        return ApiError(503, text, code="shutting_down", headers={"Retry-After": "30"})
    if isinstance(error, TookTooLong):
        return ApiError(504, text, code="timeout")
    if isinstance(error, StepFailed):
        return ApiError(500, text, code="engine_error")
    if isinstance(error, DoesNotFit):
        return ApiError(400, text, code="context_length_exceeded")
    return ApiError(400, text)
