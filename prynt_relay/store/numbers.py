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
