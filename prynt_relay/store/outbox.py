"""The outbox: mails that are written down with what they tell of, and sent afterwards."""

import sqlite3
from collections.abc import Sequence

from prynt_relay.model.mail import DueMail, OutboxMail


def add(connection: sqlite3.Connection, mails: Sequence[OutboxMail], now_ms: int) -> None:
    """Put mails in, due at once. One whose Message-ID is already there is the same mail."""
    connection.executemany(
        """INSERT OR IGNORE INTO outbox (message_id, subject, body, created_at_ms, next_try_ms)
           VALUES (?, ?, ?, ?, 0)""",
        [(mail.message_id, mail.subject, mail.body, now_ms) for mail in mails],
    )


def due(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[DueMail]:
    """The mails to send now (schedule's clock, ms), those that wait longest first."""
    return [
        DueMail(row, OutboxMail(message_id, subject, body), created_at_ms, tries)
        for row, message_id, subject, body, created_at_ms, tries in connection.execute(
            """SELECT id, message_id, subject, body, created_at_ms, tries FROM outbox
               WHERE next_try_ms <= ? ORDER BY next_try_ms LIMIT ?""",
            (now_ms, limit),
        )
    ]


def next_try_ms(connection: sqlite3.Connection) -> int | None:
    """When the next mail is due, or None when there is none."""
    found: int | None = connection.execute(
        "SELECT min(next_try_ms) FROM outbox WHERE next_try_ms IS NOT NULL"
    ).fetchone()[0]
    return found


def sent(connection: sqlite3.Connection, row: int, now_ms: int) -> None:
    """The server took it."""
    connection.execute(
        "UPDATE outbox SET next_try_ms = NULL, sent_at_ms = ?, last_error = NULL WHERE id = ?",
        (now_ms, row),
    )


def failed(connection: sqlite3.Connection, row: int, error: str, next_ms: int | None) -> None:
    """The server did not take it; try again at `next_ms`, or give up where that is None."""
    connection.execute(
        "UPDATE outbox SET next_try_ms = ?, tries = tries + 1, last_error = ? WHERE id = ?",
        (next_ms, error, row),
    )


def purge(connection: sqlite3.Connection, before_ms: int, limit: int) -> int:
    """Delete mails that were sent or given up and are older; returns how many."""
    return connection.execute(
        """DELETE FROM outbox WHERE id IN (
             SELECT id FROM outbox WHERE created_at_ms < ? AND next_try_ms IS NULL LIMIT ?)""",
        (before_ms, limit),
    ).rowcount
