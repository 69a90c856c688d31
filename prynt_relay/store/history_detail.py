"""One delivery with its attempts; one event with its data."""

import sqlite3
from typing import Final

import msgspec

from prynt_relay.model import ids
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format, Outcome, Trigger
from prynt_relay.store.history import (
    DELIVERY_COLUMNS,
    DELIVERY_JOINS,
    DeliveryFilter,
    DeliveryRow,
    list_deliveries,
)
from prynt_relay.store.history_json import fetch_packed
from prynt_relay.store.supplied import SuppliedTexts

MAX_ATTEMPTS: Final = 100
"""Attempts of one delivery that are read, the newest ones; manual retries can make any number."""

MAX_DELIVERIES: Final = 1000
"""Deliveries of one event that are read with it; the log of deliveries has them all."""


class MessageRow(msgspec.Struct, frozen=True):
    """A request that carried `count` deliveries; its headers name the first one's event."""

    first_delivery_row: int
    count: int
    event_id: str
    event_type: str
    body: bytes


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt as stored; `template` is the picture of its webhook's requests at the time.

    `message` is set where one request stood for several deliveries.
    """

    row: int
    number: int
    trigger: Trigger
    started_at_ms: int
    duration_ms: int
    outcome: Outcome
    status: int | None
    error: str | None
    signature: bytes
    response_headers: bytes | None
    response_body: bytes | None
    truncated: bool
    template: str
    message: MessageRow | None = None


class DeliveryDetail(msgspec.Struct, frozen=True):
    """A delivery, its event and its attempts, oldest first (the newest `MAX_ATTEMPTS` of them)."""

    delivery: DeliveryRow
    format: Format
    event: StoredEvent
    attempts: list[AttemptRow]


class EventDetail(msgspec.Struct, frozen=True):
    """An event with its first `MAX_DELIVERIES` deliveries, newest first, of `delivery_count`."""

    event: StoredEvent
    delivery_count: int
    deliveries: list[DeliveryRow]


_ATTEMPTS: Final = """
WITH RECURSIVE chain (id, depth) AS (
    SELECT last_attempt, 1 FROM deliveries WHERE id = :delivery AND last_attempt IS NOT NULL
    UNION ALL
    SELECT a.previous, depth + 1 FROM chain JOIN attempts a ON a.id = chain.id
    WHERE a.previous IS NOT NULL AND depth < :limit
)
SELECT a.id, a.number, a.trigger, a.started_at_ms, a.duration_ms, a.outcome, a.status, a.error,
       a.signature, a.response_headers, a.response_body, a.truncated, coalesce(r.template, ''),
       m.first_delivery, m.delivery_count, m.event_id, m.event_type, m.body
FROM chain CROSS JOIN attempts a ON a.id = chain.id
LEFT JOIN webhook_revisions r ON r.id = a.revision
LEFT JOIN messages m ON m.id = a.message
"""
_EVENT: Final = """
SELECT e.id, e.event_id, t.name, c.api_version, c.event_source,
       coalesce(e.created_at_ms, e.received_at_ms), e.received_at_ms, e.idempotency_key, e.data,
       e.delivery_count
FROM events e JOIN event_types t ON t.id = e.event_type JOIN contexts c ON c.id = e.context
WHERE e.id = ?
"""


def get_delivery(conn: sqlite3.Connection, row: int) -> DeliveryRow | None:
    """Return one line of the delivery log, or None."""
    found = fetch_packed(
        conn,
        DELIVERY_COLUMNS,
        f"(SELECT :delivery AS id) page{DELIVERY_JOINS}",
        {"delivery": row},
        DeliveryRow,
    )
    return found[0] if found else None


def delivery_detail(
    conn: sqlite3.Connection, row: int, limit: int = MAX_ATTEMPTS
) -> DeliveryDetail | None:
    """Return a delivery with its newest `limit` attempts, or None where there is none."""
    delivery = get_delivery(conn, row)
    found = None if delivery is None else _event(conn, delivery.event_row)
    if delivery is None or found is None:
        return None
    (kind,) = conn.execute("SELECT format FROM deliveries WHERE id = ?", (row,)).fetchone()
    attempts = [
        AttemptRow(
            row=values[0],
            number=values[1],
            trigger=Trigger(values[2]),
            started_at_ms=values[3],
            duration_ms=values[4],
            outcome=Outcome(values[5]),
            status=values[6],
            error=values[7],
            signature=values[8],
            response_headers=values[9],
            response_body=values[10],
            truncated=bool(values[11]),
            template=values[12],
            message=None if values[13] is None else MessageRow(*values[13:]),
        )
        for values in conn.execute(_ATTEMPTS, {"delivery": row, "limit": limit})
    ]
    attempts.sort(key=lambda attempt: attempt.row)
    return DeliveryDetail(delivery, Format(kind), found[0], attempts)


def find_event(conn: sqlite3.Connection, event_id: str) -> int | None:
    """Return the row of the newest event with this public id, or None.

    A supplied id is a new event's again once the dedup window is over.
    """
    candidates = []
    made = ids.event_row(event_id)
    if made is not None:
        candidates.append(made[0])
    (seed,) = conn.execute("SELECT hash_seed FROM meta").fetchone()
    candidates += SuppliedTexts("supplied_ids", seed).find_anywhere(conn, event_id)
    for row in sorted(candidates, reverse=True):
        found = conn.execute(
            "SELECT event_id, received_at_ms FROM events WHERE id = ?", (row,)
        ).fetchone()
        if found is not None and (found[0] or ids.event_id(row, found[1])) == event_id:
            return row
    return None


def event_detail(
    conn: sqlite3.Connection, event_id: str, limit: int = MAX_DELIVERIES
) -> EventDetail | None:
    """Return an event with its data and up to `limit` deliveries, or None."""
    row = find_event(conn, event_id)
    found = None if row is None else _event(conn, row)
    if found is None:
        return None
    page = list_deliveries(conn, DeliveryFilter(event_row=row), None, limit)
    return EventDetail(found[0], found[1], page.rows)


def _event(conn: sqlite3.Connection, row: int) -> tuple[StoredEvent, int] | None:
    """Return an event and how many deliveries it has."""
    values = conn.execute(_EVENT, (row,)).fetchone()
    if values is None:
        return None
    event = StoredEvent(
        row=values[0],
        event_id=values[1] or ids.event_id(values[0], values[6]),
        event_type=values[2],
        api_version=values[3],
        event_source=values[4],
        created_at_ms=values[5],
        received_at_ms=values[6],
        idempotency_key=values[7] or ids.idempotency_key(values[0]),
        data=values[8],
    )
    return event, values[9]
