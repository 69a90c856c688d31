"""The numbers of rows, given out from memory; none is ever given out twice.

Not even by another database: what is restored, or begun anew, no longer shows which numbers were
given out since, and events that got them again would be dropped by receivers that have seen their
keys. So at every start the numbers of events and deliveries go on from one that follows from the
wall's clock, wherever the database came from. That leaves gaps, which nothing minds: rows are found
by ranges and counted, never expected.
"""

import sqlite3
from typing import Final

from prynt_relay.model import ids

EVENTS_PER_S: Final = 1 << 14
DELIVERIES_PER_S: Final = 1 << 17
"""How far the clock moves the numbers. A run that begins at the clock and gives out fewer, on
average since then, stays behind it, and what starts later begins beyond all that it gave out."""

DELIVERY_BITS: Final = 47
"""What the clock may use of a delivery's 63 bits: SQLite stores numbers up to here in six bytes,
and the dispatcher compares them as floats."""

_SINCE_MS: Final = 1_767_225_600_000  # 2026-01-01
# The clock moves numbers no further than this, in the year 2055 or where it is senseless: what is
# left is enough for five thousand events a second over fourteen years.
_LAST_EVENT: Final = 7 << (ids.ROW_BITS - 3)
_LAST_DELIVERY: Final = 7 << (DELIVERY_BITS - 3)

_LAST = """
SELECT max(last_event_row, coalesce((SELECT max(id) FROM events), 0)),
       max(last_delivery_row, coalesce((SELECT max(id) FROM deliveries), 0),
           coalesce((SELECT max(first_delivery + delivery_count - 1)
                     FROM events WHERE fanout_pending = 1), 0)),
       max(last_attempt_row, coalesce((SELECT max(id) FROM attempts), 0))
FROM meta
"""


class Numbers:
    """The last number of each kind; lives on the writer's thread.

    A transaction that is rolled back leaves a gap. What no stored row shows (the newest rows were
    purged, or a number was only promised) is kept in `meta`. Attempts have no gap at a start: their
    numbers are in no id, and streams resume from them across a restart.
    """

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """Go on after all that is stored, and from where the wall's clock says."""
        self.event, self.delivery, self.attempt = connection.execute(_LAST).fetchone()
        event, delivery = numbers_at(now_ms)
        self.event = max(self.event, event)
        self.delivery = max(self.delivery, delivery)

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the counters down in the present transaction."""
        connection.execute(
            "UPDATE meta SET last_event_row = ?, last_delivery_row = ?, last_attempt_row = ?",
            (self.event, self.delivery, self.attempt),
        )


def numbers_at(now_ms: int) -> tuple[int, int]:
    """The event's and the delivery's number that a start at this time of the wall goes on from."""
    elapsed_ms = max(now_ms - _SINCE_MS, 0)
    return (
        min(elapsed_ms * EVENTS_PER_S // 1000, _LAST_EVENT),
        min(elapsed_ms * DELIVERIES_PER_S // 1000, _LAST_DELIVERY),
    )


def first_event(connection: sqlite3.Connection, since_ms: int, now_ms: int) -> int:
    """A number that no event received from `since_ms` on is below; beyond all if there is none.

    Numbers rise with the time of receipt, except over a wall clock that was set back. What seems
    to come from the future was received before that, so it counts as well.
    """
    found: tuple[int, int] = connection.execute(
        """SELECT coalesce((SELECT id FROM events WHERE received_at_ms >= ?1
                            ORDER BY received_at_ms, id LIMIT 1), 1 << 62),
                  coalesce((SELECT min(id) FROM events INDEXED BY events_by_time
                            WHERE received_at_ms > ?2), 1 << 62)""",
        (since_ms, now_ms),
    ).fetchone()
    return min(found)
