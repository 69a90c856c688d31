"""The logs of deliveries and events: filtered, newest first, page by page.

A request looks at a bounded number of rows (`SCAN_ROWS`, `INDEX_ROWS`). Where an index answers the
filter, that never shows. Where it doesn't (the rare event type of a busy webhook), a page may come
back short, even empty, with a place to go on from.

Deliveries are listed in the order of their numbers, events in the order in which they were
received; neither changes for a row that is there, so that new rows never shift a page.
"""

import sqlite3
from typing import Any, Final

import msgspec

from prynt_relay.model import ids
from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.store.history_json import fetch_packed
from prynt_relay.store.history_window import NO_ROW, delivery_window, event_span

SCAN_ROWS: Final = 100_000
"""Rows of a table (or entries of an index that holds all that is asked for) per request."""

INDEX_ROWS: Final = 20_000
"""Rows per request that are looked up one by one from an index."""

SORTED_ROWS: Final = 5_000
"""Up to so many scheduled deliveries are read from the index of what is due, and sorted."""


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list; None doesn't restrict.

    `since_ms <= received < until_ms`, on the wall's clock. `event_row`: one event's deliveries.
    """

    webhook_row: int | None = None
    event_row: int | None = None
    state: DeliveryState | None = None
    event_type: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list; None doesn't restrict; `since_ms <= received < until_ms` (wall)."""

    event_type: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class DeliveryRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the delivery log; `created_at_ms` is when the relay received the event."""

    row: int
    webhook_row: int
    webhook_id: str
    event_row: int
    supplied_event_id: str | None
    event_type: str
    state: DeliveryState
    created_at_ms: int
    next_attempt_ms: int | None
    attempts: int
    last_outcome: Outcome | None
    last_status: int | None

    @property
    def event_id(self) -> str:
        """The event's public id."""
        return self.supplied_event_id or ids.event_id(self.event_row, self.created_at_ms)


class EventRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the event log."""

    row: int
    supplied_event_id: str | None
    event_type: str
    created_at_ms: int
    received_at_ms: int
    supplied_key: str | None

    @property
    def event_id(self) -> str:
        """The event's public id."""
        return self.supplied_event_id or ids.event_id(self.row, self.received_at_ms)

    @property
    def idempotency_key(self) -> str:
        """The key that receivers deduplicate by."""
        return self.supplied_key or ids.idempotency_key(self.row)


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, newest first; `before_row` is where the next page begins, None at the end."""

    rows: list[DeliveryRow]
    before_row: int | None


class EventPage(msgspec.Struct, frozen=True):
    """Events, newest first; `before` is where the next page begins, None at the end."""

    rows: list[EventRow]
    before: tuple[int, int] | None


# CROSS: SQLite must begin with the page.
DELIVERY_COLUMNS: Final = (
    "d.id, d.webhook, w.public_id, d.event, e.event_id, t.name, d.state, d.created_at_ms,"
    " d.next_attempt_ms, d.attempts, d.last_outcome, d.last_status"
)
DELIVERY_JOINS: Final = (
    " CROSS JOIN deliveries d ON d.id = page.id JOIN webhooks w ON w.id = d.webhook"
    " JOIN event_types t ON t.id = d.event_type LEFT JOIN events e ON e.id = d.event"
)
EVENT_COLUMNS: Final = (
    "e.id, e.event_id, t.name, coalesce(e.created_at_ms, e.received_at_ms), e.received_at_ms,"
    " e.idempotency_key"
)
EVENT_JOINS: Final = (
    " CROSS JOIN events e ON e.id = page.id JOIN event_types t ON t.id = e.event_type"
)


def list_deliveries(
    conn: sqlite3.Connection, wanted: DeliveryFilter, before_row: int | None, limit: int
) -> DeliveryPage:
    """Return up to `limit` deliveries with numbers below `before_row` (None: from the newest)."""
    low, high = delivery_window(conn, wanted.since_ms, wanted.until_ms)
    if wanted.event_row is not None:
        first, end = event_span(conn, wanted.event_row)
        low, high = max(low, first), min(high, end)
    if before_row is not None:
        high = min(high, before_row)
    values: dict[str, Any] = {"low": low, "high": high, "webhook": wanted.webhook_row}
    rest = _restrictions(conn, wanted, values)
    if rest is None or low >= high:
        return DeliveryPage([], None)
    source = _source(conn, wanted, values)
    rest += source.rest
    floor = low
    if rest and source.budget:
        floor = values["low"] = max(low, _floor(conn, source, values))
    values["limit"] = limit + 1
    page = f"({_query('id', source.index, source.terms + rest)} ORDER BY id DESC LIMIT :limit) page"
    rows = fetch_packed(conn, DELIVERY_COLUMNS, page + DELIVERY_JOINS, values, DeliveryRow)
    rows.sort(key=lambda row: -row.row)
    if len(rows) > limit:
        return DeliveryPage(rows[:limit], rows[limit - 1].row)
    return DeliveryPage(rows, floor if floor > low else None)


_Terms = tuple[str, ...]


def _restrictions(
    conn: sqlite3.Connection, wanted: DeliveryFilter, values: dict[str, Any]
) -> _Terms | None:
    """Return the terms that no index answers; None where nothing can match."""
    terms: _Terms = ()
    if wanted.event_type is not None:
        values["type"] = event_type_number(conn, wanted.event_type)
        if values["type"] is None:
            return None
        terms += ("event_type = :type",)
    if wanted.since_ms is not None:
        values["since"] = wanted.since_ms
        terms += ("created_at_ms >= :since",)
    if wanted.until_ms is not None:
        values["until"] = wanted.until_ms
        terms += ("created_at_ms < :until",)
    return terms


class _Source(msgspec.Struct, frozen=True):
    """Where a list's rows come from, newest first.

    `terms` are what the index answers, `rest` what it doesn't. `budget` bounds how many rows may
    be looked at to find a page's; 0: the source is small.
    """

    index: str
    terms: _Terms
    budget: int
    rest: _Terms = ()


_RANGE: Final = ("id >= :low", "id < :high")
_OF_WEBHOOK: Final = ("webhook = :webhook",)
# A partial index is used only where the query repeats its condition with the number in it.
_PARTIAL: Final = {
    DeliveryState.FAILED: "INDEXED BY deliveries_failed",
    DeliveryState.HELD: "INDEXED BY deliveries_held",
    DeliveryState.CANCELLED: "INDEXED BY deliveries_cancelled",
}


def _source(conn: sqlite3.Connection, wanted: DeliveryFilter, values: dict[str, Any]) -> _Source:
    state = wanted.state
    in_state: _Terms = () if state is None else (f"state = {state.value}",)
    of_webhook: _Terms = () if wanted.webhook_row is None else _OF_WEBHOOK
    if wanted.event_row is not None:
        return _Source("NOT INDEXED", _RANGE, SCAN_ROWS, in_state + of_webhook)
    if state is DeliveryState.SCHEDULED:
        due = _Source(
            "INDEXED BY deliveries_due", ("next_attempt_ms IS NOT NULL", *of_webhook, *_RANGE), 0
        )
        if _is_small(conn, due, values):
            return due
    if state in _PARTIAL and of_webhook:
        return _Source(_PARTIAL[state], in_state + of_webhook + _RANGE, INDEX_ROWS)
    if state in _PARTIAL:
        terms = (*in_state, "state >= 2", *_RANGE)
        return _Source("INDEXED BY deliveries_by_state", terms, INDEX_ROWS)
    if of_webhook:
        terms = of_webhook + _RANGE
        return _Source("INDEXED BY deliveries_by_webhook", terms, INDEX_ROWS, in_state)
    return _Source("NOT INDEXED", _RANGE, SCAN_ROWS, in_state)


def _query(column: str, index: str, terms: _Terms) -> str:
    return f"SELECT {column} FROM deliveries {index} WHERE {' AND '.join(terms)}"  # noqa: S608 - this file's own words


def _is_small(conn: sqlite3.Connection, due: _Source, values: dict[str, Any]) -> bool:
    """Whether the index of what is due holds few enough rows to sort them all."""
    terms = tuple(term for term in due.terms if term not in _RANGE)
    some = f"{_query('1', due.index, terms)} LIMIT :sorted"
    (count,) = conn.execute(
        f"SELECT count(*) FROM ({some})",  # noqa: S608 - this file's own words
        {**values, "sorted": SORTED_ROWS + 1},
    ).fetchone()
    return bool(count <= SORTED_ROWS)


def _floor(conn: sqlite3.Connection, source: _Source, values: dict[str, Any]) -> int:
    """Return the lowest row that this request may look at; 0 where all are few enough."""
    query = _query("id", source.index, source.terms) + " ORDER BY id DESC LIMIT 1 OFFSET :budget"
    found = conn.execute(query, {**values, "budget": source.budget}).fetchone()
    return 0 if found is None else int(found[0])


def list_events(
    conn: sqlite3.Connection, wanted: EventFilter, before: tuple[int, int] | None, limit: int
) -> EventPage:
    """Return up to `limit` events older than `before` (`received_at_ms` and row; None: newest)."""
    since = (wanted.since_ms if wanted.since_ms is not None else -1, 0)
    high = (wanted.until_ms if wanted.until_ms is not None else NO_ROW, 0)
    high = high if before is None else min(high, before)
    values: dict[str, Any] = {"at": high[0], "row": high[1], "limit": limit + 1}
    values["low_at"], values["low_row"] = since
    # The plain comparisons are what the index is searched by; the pairs settle a tie.
    query = (
        "SELECT id FROM events INDEXED BY events_by_time"
        " WHERE received_at_ms <= :at AND (received_at_ms, id) < (:at, :row)"
        " AND received_at_ms >= :low_at AND (received_at_ms, id) >= (:low_at, :low_row)"
    )
    order = " ORDER BY received_at_ms DESC, id DESC"
    floor = None
    if wanted.event_type is not None:
        values["type"] = event_type_number(conn, wanted.event_type)
        if values["type"] is None:
            return EventPage([], None)
        floor = conn.execute(
            query.replace("SELECT id", "SELECT received_at_ms, id")
            + f"{order} LIMIT 1 OFFSET {SCAN_ROWS}",
            values,
        ).fetchone()
        if floor is not None:
            values["low_at"], values["low_row"] = floor
        query += " AND event_type = :type"
    source = f"({query}{order} LIMIT :limit) page{EVENT_JOINS}"
    rows = fetch_packed(conn, EVENT_COLUMNS, source, values, EventRow)
    rows.sort(key=lambda row: (-row.received_at_ms, -row.row))
    if len(rows) > limit:
        last = rows[limit - 1]
        return EventPage(rows[:limit], (last.received_at_ms, last.row))
    return EventPage(rows, floor)


def event_type_number(conn: sqlite3.Connection, name: str) -> int | None:
    """Return the number of an event type that was ever stored, or None."""
    found = conn.execute("SELECT id FROM event_types WHERE name = ?", (name,)).fetchone()
    return None if found is None else int(found[0])
