"""From a window of time to ranges of rows."""

import sqlite3
from typing import Final

SLACK_EVENTS: Final = 4096
"""How many events around an edge of the window are asked for their number.

Numbers follow the order of arrival and times the wall's clock. Where that was set back the two
disagree, and the event next to the edge in time need not be the outermost in number.
"""

NO_ROW: Final = 2**63 - 1

_FIRST_EVENT: Final = """
SELECT min(id) FROM (
    SELECT id FROM events INDEXED BY events_by_time
    WHERE received_at_ms >= ? ORDER BY received_at_ms, id LIMIT ?
)
"""
_LAST_EVENT: Final = """
SELECT max(id) FROM (
    SELECT id FROM events INDEXED BY events_by_time
    WHERE received_at_ms < ? ORDER BY received_at_ms DESC, id DESC LIMIT ?
)
"""
_SPAN: Final = "SELECT first_delivery, first_delivery + delivery_count FROM events WHERE id = ?"


def delivery_window(
    conn: sqlite3.Connection, since_ms: int | None, until_ms: int | None
) -> tuple[int, int]:
    """Return the range of delivery rows `[low, high)` that holds what was received in a window.

    It may hold others too, where the clock was set back; a caller compares `created_at_ms`.
    """
    low, high = 0, NO_ROW
    if since_ms is not None:
        (event,) = conn.execute(_FIRST_EVENT, (since_ms, SLACK_EVENTS)).fetchone()
        low = NO_ROW if event is None else event_span(conn, event)[0]
    if until_ms is not None:
        (event,) = conn.execute(_LAST_EVENT, (until_ms, SLACK_EVENTS)).fetchone()
        high = 0 if event is None else event_span(conn, event)[1]
    return low, high


def event_span(conn: sqlite3.Connection, event_row: int) -> tuple[int, int]:
    """Return the range `[low, high)` of one event's delivery rows; empty if there is no event."""
    found = conn.execute(_SPAN, (event_row,)).fetchone()
    return (0, 0) if found is None else (found[0], found[1])
