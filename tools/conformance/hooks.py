"""Loaded by schemathesis in its own venv: how its cases get past the door, and what they must not ask for."""

from typing import Any

import schemathesis  # pyright: ignore[reportMissingImports]

BODY_MODELS = "default"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A random model name is 404 and nothing else is tried; a deadline of some microseconds is rightly a 504."""
    if isinstance(case.body, dict):
        case.body.pop("timeout", None)
        if isinstance(case.body.get("model"), str):
            case.body["model"] = BODY_MODELS
