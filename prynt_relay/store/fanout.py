"""Events with very many targets: their deliveries are written over several transactions."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from prynt_relay.model.event import Target
from prynt_relay.model.states import DeliveryState, Format
from prynt_relay.store.rows import insert

CHUNK: Final = 1000
"""Deliveries of one event that one transaction writes."""

DELIVERIES = insert(
    "deliveries",
    (
        "id",
        "webhook",
        "event",
        "event_type",
        "state",
        "format",
        "created_at_ms",
        "next_attempt_ms",
    ),
)

_Packed = list[tuple[int, int, int]]


def pack_targets(targets: Sequence[Target]) -> bytes:
    """Targets as the `fanouts` table keeps them until all their deliveries are written."""
    return msgspec.msgpack.encode([(t.webhook_row, t.state, t.format) for t in targets])


def add_deliveries(
    values: list[Any],
    row: int,
    targets: Sequence[Target],
    event: tuple[int, int, int],
    due_ms: int,
) -> None:
    """Add the rows of one event's deliveries; `event` is its row, type and time of receipt."""
    event_row, event_type, received_at_ms = event
    scheduled = DeliveryState.SCHEDULED
    for target in targets:
        state = target.state
        values += (
            row,
            target.webhook_row,
            event_row,
            event_type,
            state,
            target.format,
            received_at_ms,
            due_ms if state is scheduled else None,
        )
        row += 1


class Fanout:
    """One event's deliveries, on their way into the database."""

    def __init__(self, connection: sqlite3.Connection, event_row: int) -> None:
        """Read what is left to write; the event was committed with `fanout_pending`."""
        self._event_row = event_row
        due_ms, packed, self._type, self._received, first, count = connection.execute(
            """SELECT fanouts.due_ms, targets, event_type, received_at_ms, first_delivery,
                      delivery_count
               FROM fanouts JOIN events ON events.id = fanouts.event WHERE fanouts.event = ?""",
            (event_row,),
        ).fetchone()
        self._due_ms: int = due_ms
        self._first: int = first
        self._targets = msgspec.msgpack.decode(packed, type=_Packed)
        newest = connection.execute(
            "SELECT max(id) FROM deliveries WHERE id BETWEEN ? AND ?", (first, first + count - 1)
        ).fetchone()[0]
        self._written: int = 0 if newest is None else newest - first + 1

    def next_chunk(self) -> tuple[int, list[Target]]:
        """The number of the next delivery and the targets of the next transaction."""
        targets = self._targets[self._written : self._written + CHUNK]
        return self._first + self._written, [
            Target(webhook, DeliveryState(state), Format(form)) for webhook, state, form in targets
        ]

    def write_chunk(self, connection: sqlite3.Connection) -> tuple[int, bool]:
        """Write the next deliveries; returns how many, and whether they were the last."""
        row, targets = self.next_chunk()
        values: list[Any] = []
        add_deliveries(
            values, row, targets, (self._event_row, self._type, self._received), self._due_ms
        )
        DELIVERIES.run(connection, values)
        done = self._written + len(targets) >= len(self._targets)
        if done:
            connection.execute("DELETE FROM fanouts WHERE event = ?", (self._event_row,))
            connection.execute(
                "UPDATE events SET fanout_pending = 0 WHERE id = ?", (self._event_row,)
            )
        return len(targets), done

    def chunk_committed(self) -> None:
        """The last chunk is on disk."""
        self._written = min(self._written + CHUNK, len(self._targets))
