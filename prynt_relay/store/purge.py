"""Retention: settled history goes in small steps, and the file's pages are given back.

An event goes with all of its deliveries and their attempts, or stays with all of them. Held and
cancelled deliveries count as settled; a scheduled one keeps its event.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final

import msgspec

from prynt_relay.model.states import DeliveryState
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.rows import RowStatement

EXAMINED: Final = 256
"""Events that one step looks at."""

VACUUM_PAGES: Final = 64
"""Pages that one step gives back; each may have to be moved first."""

CANDIDATES: Final = """
SELECT id, received_at_ms, first_delivery, delivery_count, fanout_pending FROM events
WHERE (received_at_ms, id) > (?, ?) AND received_at_ms < ? ORDER BY received_at_ms, id LIMIT ?
"""
BLOCKED: Final = f"""
SELECT DISTINCT event FROM deliveries
WHERE id BETWEEN ? AND ? AND state = {DeliveryState.SCHEDULED:d}
"""  # noqa: S608 - a number of our own
_HELD: Final = f"""
SELECT count(*) FROM deliveries WHERE id BETWEEN ? AND ? AND state = {DeliveryState.HELD:d}
"""  # noqa: S608 - a number of our own
ATTEMPTS: Final = """
DELETE FROM attempts WHERE id IN (
    WITH RECURSIVE chain (id, left) AS (
        SELECT last_attempt, attempts FROM deliveries
        WHERE id BETWEEN ? AND ? AND last_attempt IS NOT NULL
        UNION ALL
        SELECT previous, left - 1 FROM chain CROSS JOIN attempts ON attempts.id = chain.id
        WHERE left > 1 AND previous IS NOT NULL)
    SELECT id FROM chain)
"""
MESSAGES: Final = "DELETE FROM messages WHERE last_delivery BETWEEN ? AND ?"
_EVENTS: Final = RowStatement("DELETE FROM events WHERE id IN (VALUES ", 1, ")")

Position = tuple[int, int]
START: Final[Position] = (-(1 << 62), 0)
"""A place in the order of purging: time of receipt and row."""


class Purged(msgspec.Struct):
    """What retention took, counted."""

    events: int = 0
    deliveries: int = 0
    attempts: int = 0
    held: int = 0

    def add(self, other: "Purged") -> None:
        """Count on."""
        self.events += other.events
        self.deliveries += other.deliveries
        self.attempts += other.attempts
        self.held += other.held


class PurgeStep(msgspec.Struct):
    """What one step did; `after` is where the next goes on, None at the end."""

    purged: Purged
    after: Position | None
    used_pages: int


class _Event(msgspec.Struct, frozen=True):
    row: int
    received_at_ms: int
    first: int
    count: int
    pending: bool


def purge_step(
    connection: sqlite3.Connection,
    *,
    numbers: Numbers,
    after: Position,
    before_ms: int,
    limit: int,
) -> PurgeStep:
    """Delete about `limit` rows of settled history received before `before_ms`, oldest first."""
    found = [
        _Event(row, received_at_ms, first, count, bool(pending))
        for row, received_at_ms, first, count, pending in connection.execute(
            CANDIDATES, (*after, before_ms, EXAMINED)
        )
    ]
    purged = Purged()
    room = limit
    position: Position | None = after
    for run in _runs(found):
        taken, room = _cut(run, room)
        if taken:
            whole = _purge_run(connection, taken, limit, purged)
            if not whole:
                break
            position = (taken[-1].received_at_ms, taken[-1].row)
        if len(taken) < len(run):
            break
    else:
        if len(found) < EXAMINED:
            position = None
    numbers.save(connection)
    pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count")
    )
    return PurgeStep(purged, position, pages - free)


def _runs(events: list[_Event]) -> Iterator[list[_Event]]:
    """Neighbours in time that are neighbours in the table as well, so that ranges can go."""
    run: list[_Event] = []
    for event in events:
        if run and event.row != run[-1].row + 1:
            yield run
            run = []
        run.append(event)
    if run:
        yield run


def _cut(run: list[_Event], room: int) -> tuple[list[_Event], int]:
    """As many events of the run as there is room for; one at least while there is any."""
    taken: list[_Event] = []
    for event in run:
        if room <= 0:
            break
        taken.append(event)
        room -= 1 + 2 * event.count
    return taken, room


def _purge_run(
    connection: sqlite3.Connection, run: list[_Event], limit: int, purged: Purged
) -> bool:
    """Delete what is settled of neighbouring events; False if the last has some left."""
    first, last = run[0].first, run[-1].first + run[-1].count - 1
    blocked = {row for (row,) in connection.execute(BLOCKED, (first, last))}
    whole = True
    if len(run) == 1 and run[0].count > limit:
        # One event with very many deliveries: they go over several steps, the event at the end.
        if run[0].row in blocked or run[0].pending:
            return True
        oldest: int | None = connection.execute(
            "SELECT min(id) FROM deliveries WHERE id BETWEEN ? AND ?", (first, last)
        ).fetchone()[0]
        if oldest is not None and oldest + limit <= last:
            first, last, whole = oldest, oldest + limit - 1, False
    spared = {event.row for event in run if event.pending or event.row in blocked}
    for part_first, part_last in _spans(run, spared, first, last):
        _purge_deliveries(connection, part_first, part_last, purged)
    if whole:
        gone = [event.row for event in run if event.row not in spared]
        _EVENTS.run(connection, gone)
        purged.events += len(gone)
    return whole


def _spans(run: list[_Event], spared: set[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The ranges of deliveries between those of events that are spared."""
    start = first
    for event in run:
        if event.row in spared:
            if start < event.first:
                yield start, event.first - 1
            start = event.first + event.count
    if start <= last:
        yield start, last


def _purge_deliveries(
    connection: sqlite3.Connection, first: int, last: int, purged: Purged
) -> None:
    span = (first, last)
    purged.held += connection.execute(_HELD, span).fetchone()[0]
    purged.attempts += connection.execute(ATTEMPTS, span).rowcount
    connection.execute(MESSAGES, span)
    purged.deliveries += connection.execute(
        "DELETE FROM deliveries WHERE id BETWEEN ? AND ?", span
    ).rowcount


def purge_webhooks(connection: sqlite3.Connection) -> int:
    """Delete the rows of deleted webhooks that no delivery refers to any more."""
    gone = connection.execute(
        """SELECT id FROM webhooks WHERE deleted_at_ms IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM deliveries WHERE deliveries.webhook = webhooks.id)
           LIMIT 100"""
    ).fetchall()
    for webhook in gone:
        connection.execute("DELETE FROM webhook_revisions WHERE webhook = ?", webhook)
        connection.execute("DELETE FROM bulk_jobs WHERE webhook = ?", webhook)
        connection.execute("DELETE FROM webhooks WHERE id = ?", webhook)
    return len(gone)


def vacuum_step(connection: sqlite3.Connection, pages: int = VACUUM_PAGES) -> int:
    """Give pages back to the file system; returns how many are still free."""
    connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
    free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return free


def page_counts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """All pages, the free ones among them, and the size of one."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return pages, free, size
