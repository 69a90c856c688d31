"""Databases with as much backlog or history as a benchmark wants, made by SQL alone."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from prynt_relay.store.supplied import BUCKET_KEYS
from tests.bench.traffic import payload

DAY_MS = 86_400_000

_NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers"
_BACKLOG_EVENTS = f"""
{_NUMBERS} WHERE n + 1 < :events)
INSERT INTO events (id, event_type, context, received_at_ms, first_delivery, delivery_count, data)
SELECT :event + n, :type, 1, :now - 1000, :delivery + n * :hooks, :hooks, :data FROM numbers
"""  # noqa: S608 - text of our own
_BACKLOG = f"""
{_NUMBERS} WHERE n + 1 < :events * :hooks)
INSERT INTO deliveries (id, webhook, event, event_type, state, format, created_at_ms,
    next_attempt_ms, failures, attempts)
SELECT :delivery + n, :hook + n % :hooks, :event + n / :hooks, :type, 0, 0, :now - 1000,
    :due + n * 3600000 / (:events * :hooks), 1, 1
FROM numbers
"""  # noqa: S608 - text of our own
_HISTORY_EVENTS = f"""
{_NUMBERS} WHERE n + 1 < :events)
INSERT INTO events (id, event_type, context, received_at_ms, idempotency_key, first_delivery,
    delivery_count, data)
SELECT 1 + n, :type, 1,
    CASE WHEN n < :old THEN :now - 31 * :day + n * :day / :old
    ELSE :now - 80000000 + (n - :old) * 79000000 / (:events - :old) END,
    CASE WHEN n < :old THEN NULL ELSE lower(hex(randomblob(12))) END, 1 + n, 1, :data
FROM numbers
"""  # noqa: S608 - text of our own
_HISTORY_DELIVERIES = """
INSERT INTO deliveries (id, webhook, event, event_type, state, format, created_at_ms, attempts,
    last_attempt, last_outcome, last_status)
SELECT id, :hook, id, event_type, 1, 0, received_at_ms, 1, id, 0, 200 FROM events
"""
_HISTORY_ATTEMPTS = """
INSERT INTO attempts (id, delivery, webhook, revision, number, trigger, started_at_ms, duration_ms,
    outcome, status, signature, response_headers, response_body)
SELECT id, id, :hook, 1, 1, 0, received_at_ms + 2, 12, 0, 200, randomblob(32),
    CAST('Content-Length: 2' AS BLOB), CAST('ok' AS BLOB)
FROM events
"""
_HISTORY_KEYS = """
INSERT INTO supplied_keys (bucket, hash, event)
SELECT (id - 1 - :old) / :bucket_keys, abs(random()), id FROM events WHERE id > :old
"""


def _open(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    return connection


def _event_type(connection: sqlite3.Connection, name: str) -> int:
    connection.execute("INSERT OR IGNORE INTO event_types (name) VALUES (?)", (name,))
    number: int = connection.execute(
        "SELECT id FROM event_types WHERE name = ?", (name,)
    ).fetchone()[0]
    return number


def _finish(connection: sqlite3.Connection, database: Path) -> None:
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    # What the kernel still had to write would be written while the daemon is measured.
    file = os.open(database, os.O_RDWR)
    os.fsync(file)
    os.close(file)


def add_backlog(database: Path, event_type: str, *, events: int, due_in_s: float) -> None:
    """Schedule `events` for every webhook of this type; due within an hour from `due_in_s` on.

    Each has failed once. The webhooks' rows are neighbours.
    """
    with closing(_open(database)) as connection:
        connection.execute("BEGIN")
        hooks, hook = connection.execute(
            "SELECT count(*), min(id) FROM webhooks WHERE events LIKE ?", (f'%"{event_type}"%',)
        ).fetchone()
        event, delivery = connection.execute(
            """SELECT (SELECT coalesce(max(id), 0) + 1 FROM events),
                      (SELECT coalesce(max(id), 0) + 1 FROM deliveries)"""
        ).fetchone()
        now = int(time.time() * 1000)
        values = {
            "events": events, "hooks": hooks, "hook": hook, "event": event, "delivery": delivery,
            "type": _event_type(connection, event_type), "now": now, "data": payload(),
            "due": now + int(due_in_s * 1000),
        }  # fmt: skip
        connection.execute(_BACKLOG_EVENTS, values)
        connection.execute(_BACKLOG, values)
        _finish(connection, database)


def make_due(database: Path, due_in_s: float) -> None:
    """Let everything scheduled be due at the same millisecond."""
    with closing(_open(database)) as connection:
        connection.execute("BEGIN")
        connection.execute(
            "UPDATE deliveries SET next_attempt_ms = ? WHERE next_attempt_ms IS NOT NULL",
            (int((time.time() + due_in_s) * 1000),),
        )
        _finish(connection, database)


def add_history(database: Path, event_type: str, *, events: int) -> None:
    """Fill an empty log with events that were delivered to the first webhook.

    The older half came more than 30 days ago; the newer within a day, each with a random
    idempotency key.
    """
    with closing(_open(database)) as connection:
        connection.execute("BEGIN")
        values = {
            "events": events, "old": events // 2, "now": int(time.time() * 1000), "day": DAY_MS,
            "type": _event_type(connection, event_type), "data": payload(),
            "hook": connection.execute("SELECT min(id) FROM webhooks").fetchone()[0],
            "bucket_keys": BUCKET_KEYS,
        }  # fmt: skip
        connection.execute("DELETE FROM events")
        for statement in (
            _HISTORY_EVENTS, _HISTORY_DELIVERIES, _HISTORY_ATTEMPTS, _HISTORY_KEYS,
        ):  # fmt: skip
            connection.execute(statement, values)
        # As if the statistics had been kept all along.
        connection.execute(
            "UPDATE meta SET rolled_up_attempt_row = :events, rolled_up_event_row = :events",
            values,
        )
        _finish(connection, database)
