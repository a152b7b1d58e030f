"""The ledger: every request that was served, with its bill, in SQLite. `windowtax bill` reads it."""

import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from windowtax.base.errors import BadInput
from windowtax.base.folders import cache_folder
from windowtax.server.biller import CallBill

log = logging.getLogger("windowtax.ledger")
_RETRY_S = 10.0
_MOST_KEPT = 100_000
"""Calls that wait for a file that cannot be written; of more, the latest are kept."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS call (
    request_id TEXT NOT NULL,
    ended_s REAL NOT NULL,              -- seconds since 1970, UTC
    key TEXT NOT NULL,                  -- the key's name, never the key
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,              -- a finish reason, or the code of an error
    prefix TEXT NOT NULL,               -- the first tokens of the prompt, hashed
    words TEXT NOT NULL,                -- and how they begin
    prompt_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_device_tokens INTEGER NOT NULL,
    cached_host_tokens INTEGER NOT NULL,
    cached_disk_tokens INTEGER NOT NULL,
    kv_peak_bytes INTEGER NOT NULL,
    kv_byte_seconds REAL NOT NULL,
    queue_s REAL NOT NULL,
    prefill_s REAL NOT NULL,
    decode_s REAL NOT NULL,
    compute_s REAL NOT NULL,
    recompute_avoided_s REAL NOT NULL,
    own_usd REAL,
    api TEXT NOT NULL,
    api_usd REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS call_ended ON call (ended_s);
"""
GROUPS = {
    "key": "key",
    "day": "date(ended_s, 'unixepoch')",
    "prefix": "prefix",
    "model": "model",
    "endpoint": "endpoint",
    "outcome": "outcome",
}
"""What may be summed by, and the SQL for it."""


Row = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call for the ledger."""

    request_id: str
    key: str
    endpoint: str
    model: str
    outcome: str
    prefix: str
    words: str
    bill: CallBill

    def row(self) -> "Row":
        """Values in the order of the table's columns."""
        bill = self.bill
        return (
            self.request_id, time.time(), self.key, self.endpoint, self.model, self.outcome, self.prefix, self.words,
            bill.prompt_tokens, bill.output_tokens,
            bill.cached_tokens["device"], bill.cached_tokens["host"], bill.cached_tokens["disk"],
            bill.kv_peak_bytes, bill.kv_byte_seconds, bill.queue_s, bill.prefill_s, bill.decode_s, bill.compute_s,
            bill.recompute_avoided_s or 0.0, bill.own_usd, bill.api, bill.api_usd,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over the calls of one group. usd: here; None where no price of this machine was known."""

    group: str
    words: str
    calls: int
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    kv_byte_seconds: float
    queue_s: float
    compute_s: float
    recompute_avoided_s: float
    usd: float | None
    usd_api: float


class Ledger:
    """Writes from a thread of its own, so that no request waits for a disk. Raises BadInput for a file that is none.

    What cannot be written now (a full disk, a locked file) is kept, told in the log, and tried again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open(path) as database:
            database.executescript(_SCHEMA)
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def add(self, entry: Entry) -> None:
        """Files a call."""
        self._rows.put(entry.row())

    def close(self) -> None:
        """Writes what is left, and waits for it."""
        self._rows.put(None)
        self._writer.join()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        database = _open(self.path)
        insert = f"INSERT INTO call VALUES ({', '.join('?' * 23)})"
        rows: deque[Row] = deque(maxlen=_MOST_KEPT)
        ended = False
        while not ended:
            ended = self._gather(rows)
            try:
                with database:
                    database.executemany(insert, rows)
                rows.clear()
            except sqlite3.Error as error:
                facts = {"path": str(self.path), "error": str(error), "calls_kept": len(rows), "lost": ended}
                log.warning("the ledger cannot be written", extra={"facts": facts})
        database.close()

    def _gather(self, rows: deque[Row]) -> bool:
        """Waits for calls, not for long where some are still to be written; True at the end."""
        try:
            row = self._rows.get(timeout=_RETRY_S if rows else None)
            while row is not None:
                rows.append(row)
                row = self._rows.get_nowait()
        except queue.Empty:
            return False
        return True


def sums(path: Path, by: str, *, since_s: float = 0.0, key: str | None = None) -> list[Sums]:
    """Sums of a ledger's calls by one of GROUPS, the dearest first (days in order). Raises BadInput."""
    if by not in GROUPS:
        raise BadInput(f"Calls cannot be summed by {by!r}.", f"Choose one of: {', '.join(GROUPS)}.")
    if not path.is_file():
        raise BadInput(f"There is no ledger at {path}.", "`windowtax serve` writes one; name it with --ledger.")
    order, words = "1" if by == "day" else "api_usd DESC", "min(words)" if by == "prefix" else "''"
    query = f"""
        SELECT {GROUPS[by]}, {words}, count(*), sum(prompt_tokens),
               sum(cached_device_tokens + cached_host_tokens + cached_disk_tokens), sum(output_tokens),
               sum(kv_byte_seconds), sum(queue_s), sum(compute_s), sum(recompute_avoided_s), sum(own_usd),
               sum(api_usd) AS api_usd
        FROM call WHERE ended_s >= ? AND (? IS NULL OR key = ?) GROUP BY 1 ORDER BY {order}
    """
    names = tuple(Sums.__dataclass_fields__)
    try:
        with _open(path) as database:
            rows = database.execute(query, (since_s, key, key)).fetchall()
    except sqlite3.DatabaseError as error:
        raise BadInput(
            f"{path} is no ledger: {error}", "Name the file that `windowtax serve --ledger` wrote."
        ) from None
    return [Sums(**dict(zip(names, row, strict=True))) for row in rows]


def ledger_path(word: str | None) -> Path:
    """The ledger's file: as named, or in the user's folder."""
    return cache_folder() / "ledger.sqlite" if word is None else Path(word).expanduser()


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=30)
    try:
        database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        raise BadInput(f"{path} is no ledger: {error}", "Name another file.") from None
    return database
