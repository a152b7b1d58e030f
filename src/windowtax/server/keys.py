"""API keys: who asks, and how much they may ask. Keys are kept and compared as SHA-256; none is ever logged."""

import hashlib
import time
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windowtax.base.errors import BadInput
from windowtax.server.errors import ApiError

_FIELDS = {"name", "key", "sha256", "requests_per_minute", "tokens_per_minute"}


@dataclass
class Bucket:
    """A token bucket: `per_minute` units flow in per minute, and at most one minute's worth is kept. None: no limit."""

    per_minute: float | None
    clock: Callable[[], float] = time.monotonic
    level: float = field(init=False)
    filled: float = field(init=False)

    def __post_init__(self) -> None:
        self.level, self.filled = self.per_minute or 0.0, self.clock()

    def wait_s(self, amount: float) -> float:
        """Seconds until that much is there; 0: now. A bucket that was overdrawn must fill up first."""
        if self.per_minute is None:
            return 0.0
        now = self.clock()
        self.level = min(self.per_minute, self.level + (now - self.filled) * self.per_minute / 60)
        self.filled = now
        return max(0.0, (amount - self.level) * 60 / self.per_minute)

    def take(self, amount: float) -> None:
        """Takes that much, below zero if need be."""
        if self.per_minute is not None:
            self.level -= amount


@dataclass
class Caller:
    """Who asks. salt: separates what they leave in the prefix cache from what others leave; "" where all share it."""

    name: str
    salt: str = ""
    requests: Bucket = field(default_factory=lambda: Bucket(None))
    tokens: Bucket = field(default_factory=lambda: Bucket(None))

    def salt_with(self, own: str) -> str:
        """The salt of one request: the caller's, and what the request adds. No two callers can come to the same."""
        return f"{len(self.salt)} {self.salt}{own}" if self.salt or own else ""

    def admit(self) -> None:
        """Counts one request. Raises ApiError 429 with Retry-After where a limit is reached."""
        for what, bucket, amount in (("requests", self.requests, 1.0), ("tokens", self.tokens, 1.0)):
            wait_s = bucket.wait_s(amount)
            if wait_s > 0:
                raise ApiError(
                    429,
                    f"The key {self.name!r} may use {bucket.per_minute:,.0f} {what} per minute, and has.",
                    code="rate_limit_exceeded",
                    headers={"Retry-After": str(max(1, round(wait_s + 0.5)))},
                )
        self.requests.take(1)

    def spend(self, num_tokens: int) -> None:
        """Books tokens of the prompt and of the answer. Known afterwards: the next request pays for too many."""
        self.tokens.take(num_tokens)


ANYBODY = "anybody"


class Keyring:
    """The keys there are. Without any, everybody may ask, and all share one cache."""

    def __init__(self, callers: dict[str, Caller]) -> None:
        self._callers = callers
        self._anybody = Caller(ANYBODY)

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return not self._callers

    def find(self, key: str | None) -> Caller:
        """Whose key this is. Raises ApiError 401."""
        if self.is_open:
            return self._anybody
        if not key:
            raise ApiError(401, "This server wants an API key: Authorization: Bearer KEY, or x-api-key: KEY.")
        caller = self._callers.get(digest(key))
        if caller is None:
            raise ApiError(401, "This API key is not one of this server's.", code="invalid_api_key")
        return caller


def digest(key: str) -> str:
    """SHA-256 of a key, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_keyring(keys: Iterable[str] = (), file: Path | None = None) -> Keyring:
    """Every key has a name, and a cache of its own: those of a file by their names, others by the keys themselves.

    The file is TOML: `[[key]]` with name, key or sha256, and if wanted requests_per_minute and tokens_per_minute.
    Raises BadInput.
    """
    callers = {
        digest(key): Caller(f"command-line-{number}", salt=f"sha256 {digest(key)}")
        for number, key in enumerate(keys, 1)
    }
    if file is not None:
        for entry in _entries(file):
            callers[entry.get("sha256", "").lower() or digest(entry["key"])] = Caller(
                entry["name"],
                salt=entry["name"],
                requests=Bucket(entry.get("requests_per_minute")),
                tokens=Bucket(entry.get("tokens_per_minute")),
            )
    return Keyring(callers)


def _entries(file: Path) -> list[dict[str, Any]]:
    hint = 'Write [[key]] entries with name = "...", key = "..." (or sha256 = "...").'
    try:
        entries = tomllib.loads(file.read_text("utf-8")).get("key")
    except (OSError, ValueError) as error:
        raise BadInput(f"The keys file {file} cannot be read: {error}", hint) from None
    if not isinstance(entries, list) or not entries:
        raise BadInput(f"The keys file {file} has no keys.", hint)
    names: set[str] = set()
    for entry in entries:
        unknown = sorted(set(entry) - _FIELDS)
        if unknown:
            raise BadInput(f"{file}: nobody reads {unknown[0]!r}.", f"A key has {', '.join(sorted(_FIELDS))}.")
        name = entry.get("name")
        if not isinstance(name, str) or not name or name in names:
            raise BadInput(f"{file}: each key needs a name of its own.", hint)
        names.add(name)
        if ("key" in entry) == ("sha256" in entry) or not isinstance(entry.get("key", entry.get("sha256")), str):
            raise BadInput(f"{file}: the key {name!r} needs either key or sha256.", hint)
        for limit in ("requests_per_minute", "tokens_per_minute"):
            value = entry.get(limit)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
                raise BadInput(f"{file}: {limit} of {name!r} is {value!r}.", "Give a number above 0, or leave it out.")
    return entries
