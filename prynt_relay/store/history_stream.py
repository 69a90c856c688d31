"""Attempts in the order of settling: what a stream follows and resumes from."""

import sqlite3
from typing import Final

import msgspec

from prynt_relay.model import ids
from prynt_relay.model.states import DeliveryState, Outcome, Trigger
from prynt_relay.store.history_json import fetch_packed


class StreamedAttempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An attempt with what names it; `state` and `next_attempt_ms` are the delivery's by now."""

    row: int
    webhook_row: int
    webhook_id: str
    delivery_row: int
    event_row: int
    received_at_ms: int
    supplied_event_id: str | None
    event_type: str
    number: int
    trigger: Trigger
    started_at_ms: int
    duration_ms: int
    outcome: Outcome
    status: int | None
    error: str | None
    state: DeliveryState
    next_attempt_ms: int | None

    @property
    def event_id(self) -> str:
        """The event's public id."""
        return self.supplied_event_id or ids.event_id(self.event_row, self.received_at_ms)


_COLUMNS: Final = (
    "a.id, a.webhook, w.public_id, a.delivery, d.event, d.created_at_ms, e.event_id, t.name,"
    " a.number, a.trigger, a.started_at_ms, a.duration_ms, a.outcome, a.status, a.error, d.state,"
    " d.next_attempt_ms"
)
_PAGE: Final = "(SELECT id FROM attempts WHERE id > :after AND id <= :up_to ORDER BY id) page"
# An attempt whose delivery was purged meanwhile is left out.
_JOINS: Final = (
    " CROSS JOIN attempts a ON a.id = page.id JOIN deliveries d ON d.id = a.delivery"
    " JOIN webhooks w ON w.id = a.webhook JOIN event_types t ON t.id = d.event_type"
    " LEFT JOIN events e ON e.id = d.event"
)


def newest_attempt(conn: sqlite3.Connection) -> int:
    """Return the number of the newest attempt that was ever stored, 0 before the first."""
    (row,) = conn.execute(
        "SELECT max(last_attempt_row, coalesce((SELECT max(id) FROM attempts), 0)) FROM meta"
    ).fetchone()
    return int(row)


def attempts_between(
    conn: sqlite3.Connection, after_row: int, up_to_row: int
) -> list[StreamedAttempt]:
    """Return the attempts with numbers in `(after_row, up_to_row]`, in order.

    The caller bounds the range: the numbers have next to no gaps.
    """
    found = fetch_packed(
        conn,
        _COLUMNS,
        _PAGE + _JOINS,
        {"after": after_row, "up_to": up_to_row},
        StreamedAttempt,
    )
    found.sort(key=lambda attempt: attempt.row)
    return found
