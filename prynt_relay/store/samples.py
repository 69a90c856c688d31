"""Telling deliveries of samples (test deliveries) from all others.

Only their events are marked, so that ordinary ones carry nothing. A sample has exactly one
delivery, which an index of the few samples finds by its number.
"""

import sqlite3
from typing import Final

from prynt_relay.store.rows import RowStatement

NOT_A_SAMPLE: Final = """id NOT IN (
    SELECT first_delivery FROM events INDEXED BY events_samples WHERE is_test = 1)"""
"""True of ordinary rows of `deliveries`; reads the samples once for a whole statement."""

SAMPLES: Final = RowStatement(
    """SELECT first_delivery FROM events INDEXED BY events_samples
       WHERE is_test = 1 AND first_delivery IN (VALUES """,
    1,
    ")",
)

_EVENTS: Final = RowStatement("SELECT id FROM events WHERE is_test = 1 AND id IN (VALUES ", 1, ")")


def samples_among(connection: sqlite3.Connection, delivery_rows: list[int]) -> set[int]:
    """Those of the deliveries that are a sample's."""
    return {row for (row,) in SAMPLES.fetch(connection, delivery_rows)}


def sample_events_among(connection: sqlite3.Connection, event_rows: list[int]) -> set[int]:
    """Those of the events that are samples."""
    return {row for (row,) in _EVENTS.fetch(connection, event_rows)}
