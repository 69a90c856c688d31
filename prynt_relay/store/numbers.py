"""The numbers of rows, given out from memory; none is ever given out twice."""

import sqlite3

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
    purged, or a number was only promised) is kept in `meta`.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.event, self.delivery, self.attempt = connection.execute(_LAST).fetchone()

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the counters down in the present transaction."""
        connection.execute(
            "UPDATE meta SET last_event_row = ?, last_delivery_row = ?, last_attempt_row = ?",
            (self.event, self.delivery, self.attempt),
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
