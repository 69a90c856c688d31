"""Writing events with their deliveries, and recognising those that came before."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from prynt_relay.model import ids
from prynt_relay.model.event import Append, Appended, NewEvent, StoredEvent
from prynt_relay.store.dedup import Dedup, Supplied, ruled_out
from prynt_relay.store.fanout import DELIVERIES, add_deliveries, pack_targets
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.rows import insert

MAX_TARGETS: Final = 1000
"""An event with more has its deliveries written in transactions of their own."""

MAX_DELIVERIES: Final = 4000
"""Deliveries that one transaction writes for appends; the rest goes the same way."""

_PLAIN_COLUMNS: Final = (
    "id",
    "event_type",
    "context",
    "received_at_ms",
    "first_delivery",
    "delivery_count",
    "data",
)
_EVENTS = insert(
    "events",
    (*_PLAIN_COLUMNS, "created_at_ms", "event_id", "idempotency_key", "fanout_pending", "is_test"),
)
# What most transactions consist of: nothing supplied but a type and the data. Binding a value
# costs a tenth of what inserting the row does, and holds the interpreter.
_PLAIN_EVENTS = insert("events", _PLAIN_COLUMNS)
_PLAIN: Final = (None, None, None, 0, 0)
_CONTEXT: Final = "SELECT id FROM contexts WHERE api_version = ? AND event_source = ?"


class AppendJob:
    """One call of `append`, from its enqueueing to its answer.

    `own_fanouts` are its events whose deliveries take more than one transaction, `fanouts` all
    that may have to be written out before the answer: those, and the events that it repeats.
    `large` tells beforehand that there will be some.
    """

    __slots__ = (
        "appended",
        "batch",
        "bytes",
        "due_ms",
        "fanouts",
        "future",
        "large",
        "own_fanouts",
        "received_at_ms",
        "rows",
        "supplied",
    )

    def __init__(
        self,
        batch: Sequence[Append],
        future: asyncio.Future[list[Appended]],
        *,
        due_ms: int,
        received_at_ms: int,
    ) -> None:
        self.batch = batch
        self.future = future
        self.due_ms = due_ms
        self.received_at_ms = received_at_ms
        inline = 0
        size = 0
        large = supplied = False
        for item in batch:
            event = item.event
            count = len(item.targets)
            if count > MAX_TARGETS:
                large = True
            else:
                inline += count
            size += len(event.data)
            if event.idempotency_key is not None or event.event_id is not None:
                supplied = True
        self.large = large or inline > MAX_DELIVERIES
        self.rows = len(batch) + min(inline, MAX_DELIVERIES)
        self.bytes = size
        self.supplied = supplied
        self.appended: list[Appended] = []
        self.fanouts: set[int] = set()
        self.own_fanouts: list[int] = []


class Names:
    """Numbers for texts that many rows share, made when one is first seen."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.known: dict[str, int] = dict(
            connection.execute("SELECT name, id FROM event_types").fetchall()
        )
        self._uncommitted: list[str] = []

    def add(self, connection: sqlite3.Connection, name: str) -> int:
        """Give a new name its number."""
        connection.execute("INSERT OR IGNORE INTO event_types (name) VALUES (?)", (name,))
        number: int = connection.execute(
            "SELECT id FROM event_types WHERE name = ?", (name,)
        ).fetchone()[0]
        self.known[name] = number
        self._uncommitted.append(name)
        return number

    def committed(self) -> None:
        """The names that were added are on disk."""
        self._uncommitted.clear()

    def rolled_back(self) -> None:
        """The names that were added aren't there after all."""
        for name in self._uncommitted:
            del self.known[name]
        self._uncommitted.clear()


class Appender:
    """Turns append jobs into rows; lives on the writer's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        numbers: Numbers,
        dedup: Dedup,
        api_version: str,
        event_source: str,
    ) -> None:
        self._numbers = numbers
        self._dedup = dedup
        self._api_version = api_version
        self._event_source = event_source
        self.names = Names(connection)
        with_context = (api_version, event_source)
        connection.execute(
            "INSERT OR IGNORE INTO contexts (api_version, event_source) VALUES (?, ?)",
            with_context,
        )
        self._context: int = connection.execute(_CONTEXT, with_context).fetchone()[0]

    def apply(self, connection: sqlite3.Connection, jobs: Sequence[AppendJob]) -> None:
        """Write the jobs' events; fills each job's `appended` and `fanouts`."""
        skipped = self._dedup.unreserved(connection, sum(len(job.batch) for job in jobs))
        rows = _Rows(skipped)
        newest_ms = jobs[-1].received_at_ms
        supplied: Supplied | None = None
        if any(job.supplied for job in jobs):
            batch = [item for job in jobs if job.supplied for item in job.batch]
            supplied = self._dedup.find(connection, batch, newest_ms)
        for job in jobs:
            job.appended = []
            job.fanouts = set()
            job.own_fanouts = []
            if supplied is not None and job.supplied:
                self._collect_supplied(connection, rows, job, supplied)
            else:
                self._collect(connection, rows, job, job.batch)
        rows.write(connection, self._dedup)

    def _collect_supplied(
        self, connection: sqlite3.Connection, rows: "_Rows", job: AppendJob, supplied: Supplied
    ) -> None:
        """Collect a job's events one by one: each may repeat the one before it."""
        for item in job.batch:
            first = supplied.first_of(item.event)
            if first is not None:
                job.appended.append(Appended(first[0], duplicate=True))
                job.fanouts.add(first[1])
                continue
            self._collect(connection, rows, job, (item,))
            appended = job.appended[-1]
            supplied.add(item.event, (appended.event_id, self._numbers.event))
            rows.note_supplied(self._numbers.event, item.event, supplied, job.received_at_ms)

    def _collect(
        self,
        connection: sqlite3.Connection,
        rows: "_Rows",
        job: AppendJob,
        batch: Sequence[Append],
    ) -> None:
        """Collect the rows of events that are new. This is the hot path: little Python an event."""
        numbers = self._numbers
        row, delivery = numbers.event, numbers.delivery
        received_at_ms, due_ms = job.received_at_ms, job.due_ms
        api_version, event_source, context = self._api_version, self._event_source, self._context
        make_id, make_key = ids.event_id, ids.idempotency_key
        type_numbers, skipped, appended = self.names.known, rows.skipped, job.appended
        for item in batch:
            event, targets = item.event, item.targets
            event_type, data, created_at_ms = event.event_type, event.data, event.created_at_ms
            event_id, key = event.event_id, event.idempotency_key
            row += 1
            while row in skipped:
                row += 1
            type_number = type_numbers.get(event_type) or self.names.add(connection, event_type)
            count = len(targets)
            pending = count > MAX_TARGETS or count > rows.room
            rows.events += (
                row, type_number, context, received_at_ms, delivery + 1, count, data
            )  # fmt: skip
            special = (created_at_ms, event_id, key, pending, item.is_test)
            if special != _PLAIN:
                rows.special[row] = special
            if event_id is None:
                event_id = make_id(row, received_at_ms)
            if not count:
                appended.append(Appended(event_id, False, None, delivery + 1, due_ms))
                continue
            if pending:
                rows.fanouts.append((row, due_ms, pack_targets(targets)))
                job.own_fanouts.append(row)
                job.fanouts.add(row)
            else:
                rows.room -= count
                add_deliveries(
                    rows.deliveries, delivery + 1, targets, (row, type_number, received_at_ms),
                    due_ms,
                )  # fmt: skip
            stored = StoredEvent(
                row, event_id, event_type, api_version, event_source,
                received_at_ms if created_at_ms is None else created_at_ms,
                received_at_ms, make_key(row) if key is None else key, data,
            )  # fmt: skip
            appended.append(Appended(event_id, False, stored, delivery + 1, due_ms))
            delivery += count
        numbers.event, numbers.delivery = row, delivery


class _Rows:
    """The rows of one transaction's appends, to be written table by table."""

    def __init__(self, skipped: frozenset[int] | set[int]) -> None:
        self.skipped = skipped
        self.events: list[Any] = []
        # By row, the last columns of those events that aren't plain.
        self.special: dict[int, tuple[int | None, str | None, str | None, bool, bool]] = {}
        self.deliveries: list[Any] = []
        self.fanouts: list[tuple[int, int, bytes]] = []
        self.room = MAX_DELIVERIES
        self._keys: list[tuple[int, int]] = []
        self._ids: list[tuple[int, int]] = []
        self._reserved: list[int] = []

    def note_supplied(
        self, row: int, event: NewEvent, supplied: Supplied, received_at_ms: int
    ) -> None:
        """Collect what the event in `row` came with, and the numbers that this rules out."""
        key, event_id = event.idempotency_key, event.event_id
        if key is not None:
            self._keys.append((supplied.keys[key], row))
        if event_id is not None:
            self._ids.append((supplied.ids[event_id], row))
        for number in ruled_out(event, row, received_at_ms):
            self._reserved.append(number)
            # It may be this very transaction that would give the number out.
            self.skipped = {*self.skipped, number}

    def write(self, connection: sqlite3.Connection, dedup: Dedup) -> None:
        """Write everything."""
        if self.special:
            _EVENTS.run(connection, self._whole_events())
        else:
            _PLAIN_EVENTS.run(connection, self.events)
        if self.deliveries:
            DELIVERIES.run(connection, self.deliveries)
        if self.fanouts:
            connection.executemany(
                "INSERT INTO fanouts (event, due_ms, targets) VALUES (?, ?, ?)", self.fanouts
            )
        dedup.write(connection, self._keys, self._ids, self._reserved)

    def _whole_events(self) -> list[Any]:
        """The events with all their columns."""
        values: list[Any] = []
        width, events, special = _PLAIN_EVENTS.width, self.events, self.special
        for start in range(0, len(events), width):
            values += events[start : start + width]
            values += special.get(events[start], _PLAIN)
        return values
