"""One HTTP call as the endpoints see it: who asks, under which id, and what they should be warned of."""

import time
from dataclasses import dataclass, field

from fastapi import Request

from windowtax.server.keys import Caller

SCOPE_KEY = "windowtax.call"


@dataclass
class Call:
    """request_id: the client's own, or one that was made. warnings: about fields that have no effect. log: extra facts
    for the log line."""

    request_id: str
    caller: Caller
    began: float = field(default_factory=time.perf_counter)
    warnings: list[str] = field(default_factory=list)
    log: dict[str, object] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Tells the client something that is no error; once."""
        if text not in self.warnings:
            self.warnings.append(text)


def call_of(request: Request) -> Call:
    """The call that a request belongs to: a FastAPI dependency."""
    return request.scope[SCOPE_KEY]
