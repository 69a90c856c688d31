"""How many deliveries a retry of a window would send again, counted before it is asked for."""

import sqlite3
from collections.abc import Collection
from typing import Final

import msgspec

from prynt_relay.model.states import DeliveryState
from prynt_relay.store.history_window import delivery_window
from prynt_relay.store.samples import NOT_A_SAMPLE

BUDGET: Final = 10_000
"""Rows of each state that are looked at: beyond, the count says "at least"."""


class WindowCount(msgspec.Struct, frozen=True):
    """Deliveries by state; where `is_exact` is False there are at least so many."""

    by_state: dict[DeliveryState, int]
    is_exact: bool

    @property
    def total(self) -> int:
        """Over all states."""
        return sum(self.by_state.values())


_RANGE: Final = "webhook = :webhook AND id >= :low AND id < :high"
_ROWS: Final = {
    # A partial index is used only where the query repeats its condition with the number in it.
    DeliveryState.FAILED: ("1", f"INDEXED BY deliveries_failed WHERE state = 2 AND {_RANGE}"),
    DeliveryState.HELD: ("1", f"INDEXED BY deliveries_held WHERE state = 3 AND {_RANGE}"),
    DeliveryState.DELIVERED: ("state = 1", f"INDEXED BY deliveries_by_webhook WHERE {_RANGE}"),
    # Of what is scheduled a retry takes only what has failed at least once.
    DeliveryState.SCHEDULED: (
        "failures > 0",
        "INDEXED BY deliveries_due WHERE webhook = :webhook AND next_attempt_ms IS NOT NULL",
    ),
}
"""By state: what makes a row count, and where rows are found."""


def count_window(
    conn: sqlite3.Connection,
    webhook_row: int,
    since_ms: int,
    until_ms: int | None,
    states: Collection[DeliveryState],
    budget: int = BUDGET,
) -> WindowCount:
    """Count a webhook's deliveries that were received in the window and are in `states`.

    Without those of samples, which a retry of a window leaves out.
    """
    low, high = delivery_window(conn, since_ms, until_ms)
    values = {
        "webhook": webhook_row,
        "low": low,
        "high": high,
        "since": since_ms,
        "until": 1 << 62 if until_ms is None else until_ms,
        "limit": budget + 1,
    }
    counts, is_exact = {}, True
    for state in sorted(states):
        counts_if, source = _ROWS[state]
        looked_at, count = conn.execute(
            "SELECT count(*), coalesce(sum(wanted AND created_at_ms >= :since"  # noqa: S608 - this file's own words
            f" AND created_at_ms < :until), 0) FROM (SELECT {counts_if} AND {NOT_A_SAMPLE}"
            f" AS wanted, created_at_ms FROM deliveries {source} LIMIT :limit)",
            values,
        ).fetchone()
        counts[state] = count
        is_exact = is_exact and looked_at <= budget
    return WindowCount(counts, is_exact)
