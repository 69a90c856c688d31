"""A database file with as much history as a test wants, made by SQL alone, and a door to it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.store import migrate

START_MS = 1_790_000_000_000
PER_EVENT = 4
"""Deliveries of each event: PER_EVENT neighbouring webhooks."""
WEBHOOKS = 20

_SECRETS = (
    b'{"current":"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3","pending":null,"pending_at_ms":null,'
    b'"auth":null,"headers":[]}'
)

T = TypeVar("T")

# Event e is received at START_MS + 40 * e; one in 2,000 is of the rarest type.
_EVENTS = """
WITH RECURSIVE n(e) AS (SELECT 1 UNION ALL SELECT e + 1 FROM n WHERE e < :events)
INSERT INTO events (id, event_type, context, received_at_ms, first_delivery, delivery_count, data)
SELECT e, CASE WHEN e % 2000 = 7 THEN 11 ELSE 1 + e % 10 END, 1, :start + 40 * e,
       1 + (e - 1) * :per, :per, CAST(:data AS BLOB)
FROM n
"""
# Old rows are mostly delivered, with stretches of failed ones; the newest ones have some of each.
_DELIVERIES = """
WITH RECURSIVE n(d) AS (SELECT 1 UNION ALL SELECT d + 1 FROM n WHERE d < :deliveries)
INSERT INTO deliveries (id, webhook, event, event_type, state, format, created_at_ms,
                        next_attempt_ms, failures, attempts, last_attempt, last_outcome,
                        last_status)
SELECT d, w, e, CASE WHEN e % 2000 = 7 THEN 11 ELSE 1 + e % 10 END, s, 0, :start + 40 * e,
       CASE WHEN s = 0 THEN :start + 40 * e + 300000 END, s = 2, s IN (1, 2),
       CASE WHEN s IN (1, 2) THEN d END, CASE s WHEN 1 THEN 0 WHEN 2 THEN 1 END,
       CASE s WHEN 1 THEN 200 WHEN 2 THEN 500 END
FROM (
    SELECT d, 1 + (d - 1) / :per AS e, 1 + ((d - 1) / :per + (d - 1) % :per) % :webhooks AS w,
           CASE WHEN d > :deliveries - 2000 AND d % 9 = 0 THEN 0
                WHEN d % 20000 < 400 THEN 2
                WHEN d % 101 = 0 THEN 3
                WHEN d % 211 = 0 THEN 4
                ELSE 1 END AS s
    FROM n
)
"""
_ATTEMPTS = """
INSERT INTO attempts (id, delivery, webhook, revision, number, trigger, started_at_ms, duration_ms,
                      outcome, status, signature, response_headers, response_body)
SELECT d.id, d.id, d.webhook, d.webhook, 1, 0, d.created_at_ms + 5, 3 + d.id % 50, d.last_outcome,
       d.last_status, x'00', CAST('Server: test' AS BLOB), CAST('ok' AS BLOB)
FROM deliveries d WHERE d.last_attempt IS NOT NULL
"""


def empty_database(path: Path) -> None:
    """Make a database of the present schema with its one `meta` row and the event types."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        for _, script in migrate.migrations():
            conn.executescript(script)
        conn.execute(
            "INSERT INTO meta (id, hash_seed, created_at_ms) VALUES (1, zeroblob(16), ?)",
            (START_MS,),
        )


def add_webhooks(conn: sqlite3.Connection, count: int = WEBHOOKS) -> None:
    """Put `count` webhooks with one revision each into the tables."""
    conn.executemany(
        "INSERT INTO webhooks (id, public_id, url, events, description, enabled, format,"
        " signatures, secrets, created_at_ms, updated_at_ms)"
        " VALUES (?, ?, 'https://receiver.test/hook', '[\"*\"]', '', 1, 0, '[0]', ?, ?, ?)",
        [(row, f"wh_{row:013d}", _SECRETS, START_MS, START_MS) for row in range(1, count + 1)],
    )
    conn.executemany(
        "INSERT INTO webhook_revisions (id, webhook, template) VALUES (?, ?, '{}')",
        [(row, row) for row in range(1, count + 1)],
    )


def fill(path: Path, events: int, data: bytes = b'{"visitorId":"pv_8kX2mNqR3jT7p"}') -> None:
    """Add history: `events` events of PER_EVENT deliveries each (see the SQL above)."""
    values = {
        "events": events,
        "deliveries": events * PER_EVENT,
        "per": PER_EVENT,
        "webhooks": WEBHOOKS,
        "start": START_MS,
        "data": data,
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous=OFF")
        conn.execute("BEGIN")
        conn.execute("INSERT OR IGNORE INTO contexts VALUES (1, '2026-01-15', 'urn:prynt-relay')")
        conn.executemany(
            "INSERT OR IGNORE INTO event_types (id, name) VALUES (?, ?)", enumerate(EVENT_TYPES, 1)
        )
        add_webhooks(conn)
        conn.execute(_EVENTS, values)
        conn.execute(_DELIVERIES, values)
        conn.execute(_ATTEMPTS)
        conn.execute(
            "UPDATE meta SET last_event_row = :events, last_delivery_row = :deliveries,"
            " last_attempt_row = (SELECT max(id) FROM attempts)",
            values,
        )
        conn.execute("COMMIT")


class FileStorage:
    """`read` and `write` over a real file: one writing and one read-only connection, a thread each.

    Functions run inside a transaction, as in the daemon's store.
    """

    def __init__(self, path: Path) -> None:
        self._writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._reader = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        self._threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads[0], _transaction, self._reader, fn)

    def write(self, fn: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads[1], _transaction, self._writer, fn)

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown()
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _transaction(conn: sqlite3.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    conn.execute("BEGIN")
    try:
        result = fn(conn)
    except BaseException:
        conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")
    return result
