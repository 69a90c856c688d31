"""What the dispatcher reads: deliveries that are due, and their events."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from prynt_relay.model import ids
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.store.rows import RowStatement

DUE_COLUMNS: Final = (
    "id, webhook, event, next_attempt_ms, created_at_ms, failures, attempts, manual, resume_ms,"
    " format"
)

DUE_PAGE: Final = f"""
SELECT {DUE_COLUMNS} FROM deliveries
WHERE webhook = ?1 AND next_attempt_ms IS NOT NULL AND next_attempt_ms = ?2 AND id > ?3
ORDER BY id LIMIT ?4
"""  # noqa: S608 - our own names

DUE_PAGE_AFTER: Final = f"""
SELECT {DUE_COLUMNS} FROM deliveries
WHERE webhook = ?1 AND next_attempt_ms IS NOT NULL AND next_attempt_ms > ?2
ORDER BY next_attempt_ms, id LIMIT ?3
"""  # noqa: S608 - our own names

EARLIEST_DUE: Final = """
SELECT webhooks.id, (SELECT min(next_attempt_ms) FROM deliveries
    WHERE deliveries.webhook = webhooks.id AND next_attempt_ms IS NOT NULL) AS due_ms
FROM webhooks WHERE due_ms IS NOT NULL
"""

EVENTS: Final = RowStatement(
    """SELECT events.id, event_id, name, api_version, event_source, created_at_ms, received_at_ms,
              idempotency_key, data, is_test
       FROM events CROSS JOIN event_types ON event_types.id = event_type
       CROSS JOIN contexts ON contexts.id = context
       WHERE events.id IN (VALUES """,
    1,
    ")",
)


def due_page(
    connection: sqlite3.Connection, webhook_row: int, after: tuple[float, float], limit: int
) -> list[DueDelivery]:
    """A webhook's scheduled deliveries in `(due_ms, row)` order, strictly after the key."""
    due_ms, row = after
    found = connection.execute(DUE_PAGE, (webhook_row, due_ms, row, limit)).fetchall()
    if len(found) < limit:
        found += connection.execute(
            DUE_PAGE_AFTER, (webhook_row, due_ms, limit - len(found))
        ).fetchall()
    return [due_delivery(columns) for columns in found]


def due_delivery(columns: Sequence[Any]) -> DueDelivery:
    """A row of `DUE_COLUMNS`."""
    row, webhook, event, due_ms, received, failures, attempts, manual, resume_ms, form = columns
    return DueDelivery(
        row,
        webhook,
        event,
        due_ms,
        received,
        failures,
        attempts,
        bool(manual),
        resume_ms,
        Format(form),
    )


def earliest_due(connection: sqlite3.Connection) -> dict[int, int]:
    """When each webhook's first scheduled delivery is due; those without any are left out."""
    return dict(connection.execute(EARLIEST_DUE).fetchall())


def events(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, StoredEvent]:
    """Events by row; one that isn't there any more is left out."""
    return {found[0]: stored_event(found) for found in EVENTS.fetch(connection, list(rows))}


def stored_event(columns: Sequence[Any]) -> StoredEvent:
    """A row of `EVENTS`."""
    row, event_id, event_type, version, source, created_ms, received_ms, key, data, test = columns
    return StoredEvent(
        row,
        event_id or ids.event_id(row, received_ms),
        event_type,
        version,
        source,
        received_ms if created_ms is None else created_ms,
        received_ms,
        key or ids.idempotency_key(row),
        data,
        bool(test),
    )
