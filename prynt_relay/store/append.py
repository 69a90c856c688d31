"""Writing events with their deliveries, and recognising those that came before."""

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from prynt_relay.model import ids
from prynt_relay.model.event import Append, Appended, NewEvent, StoredEvent
from prynt_relay.store.fanout import DELIVERIES, add_deliveries, pack_targets
from prynt_relay.store.numbers import Numbers
from prynt_relay.store.rows import RowStatement, insert
from prynt_relay.store.supplied import SuppliedTexts

MAX_TARGETS: Final = 1000
"""An event with more has its deliveries written in transactions of their own."""

MAX_DELIVERIES: Final = 4000
"""Deliveries that one transaction writes for appends; the rest goes the same way."""

RESERVE_AHEAD: Final = 1 << 32
"""How far ahead of the counter a supplied id is kept from being made again: over a week at
5,000 events a second. Beyond it the id's second would have to be guessed as well."""

_EVENTS = insert(
    "events",
    (
        "id",
        "event_type",
        "context",
        "received_at_ms",
        "created_at_ms",
        "event_id",
        "idempotency_key",
        "first_delivery",
        "delivery_count",
        "fanout_pending",
        "data",
    ),
)
_FIRSTS = RowStatement(
    "SELECT id, event_id, idempotency_key, received_at_ms FROM events WHERE id IN (VALUES ",
    1,
    ")",
)


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
        deliveries = 0
        largest = 0
        for item in batch:
            count = len(item.targets)
            deliveries += count
            largest = max(largest, count)
        self.large = largest > MAX_TARGETS or deliveries > MAX_DELIVERIES
        self.rows = len(batch) + min(deliveries, MAX_DELIVERIES)
        self.bytes = sum(len(item.event.data) for item in batch)
        self.appended: list[Appended] = []
        self.fanouts: set[int] = set()
        self.own_fanouts: list[int] = []


class Names:
    """Numbers for texts that many rows share, made when one is first seen."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._known: dict[str, int] = dict(
            connection.execute("SELECT name, id FROM event_types").fetchall()
        )

    def number(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of an event type."""
        number = self._known.get(name)
        return self._add(connection, name) if number is None else number

    def _add(self, connection: sqlite3.Connection, name: str) -> int:
        connection.execute("INSERT OR IGNORE INTO event_types (name) VALUES (?)", (name,))
        number: int = connection.execute(
            "SELECT id FROM event_types WHERE name = ?", (name,)
        ).fetchone()[0]
        self._known[name] = number
        return number

    def forget(self, connection: sqlite3.Connection) -> None:
        """Read them again: a transaction that added some was rolled back."""
        self.__init__(connection)  # type: ignore[misc]


class Appender:
    """Turns append jobs into rows; lives on the writer's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        numbers: Numbers,
        keys: SuppliedTexts,
        ids: SuppliedTexts,
        api_version: str,
        event_source: str,
        dedup_window_ms: int,
    ) -> None:
        self._numbers = numbers
        self._keys = keys
        self._ids = ids
        self._api_version = api_version
        self._event_source = event_source
        self._window_ms = dedup_window_ms
        self.names = Names(connection)
        self._context = _context(connection, api_version, event_source)
        self._any_reserved = (
            connection.execute("SELECT 1 FROM reserved_rows LIMIT 1").fetchone() is not None
        )

    def apply(self, connection: sqlite3.Connection, jobs: Sequence[AppendJob]) -> None:
        """Write the jobs' events; fills each job's `appended` and `fanouts`."""
        firsts = self._find_firsts(connection, jobs)
        writing = _Writing(self, connection, sum(len(job.batch) for job in jobs))
        for job in jobs:
            job.appended = []
            job.fanouts = set()
            job.own_fanouts = []
            for item in job.batch:
                event = item.event
                supplied = event.event_id is not None or event.idempotency_key is not None
                if supplied:
                    first = _first_of(event, firsts)
                    if first is not None:
                        first_id, first_row = first
                        job.appended.append(Appended(first_id, duplicate=True))
                        job.fanouts.add(first_row)
                        continue
                appended = writing.add(job, item)
                job.appended.append(appended)
                if supplied and appended.stored is not None:
                    first = (appended.event_id, appended.stored.row)
                    if event.event_id is not None:
                        firsts["i" + event.event_id] = first
                    if event.idempotency_key is not None:
                        firsts["k" + event.idempotency_key] = first
        writing.flush()

    # --- what came before ---

    def _find_firsts(
        self, connection: sqlite3.Connection, jobs: Sequence[AppendJob]
    ) -> dict[str, tuple[str, int]]:
        """The stored events that these jobs' supplied keys and ids belong to, within the window.

        Keyed by "k" and the key or "i" and the id; the value is the event's id and row.
        """
        asked: dict[str, int] = {}
        for job in jobs:
            for item in job.batch:
                event = item.event
                if event.idempotency_key is not None:
                    asked["k" + event.idempotency_key] = job.received_at_ms
                if event.event_id is not None:
                    asked["i" + event.event_id] = job.received_at_ms
        if not asked:
            return {}
        candidates = self._candidates(connection, asked)
        if not candidates:
            return {}
        rows = sorted({row for row, _ in candidates})
        stored = {row[0]: row for row in _FIRSTS.fetch(connection, rows)}
        firsts: dict[str, tuple[str, int]] = {}
        for row, name in sorted(candidates):  # of several the newest event counts
            if row not in stored:
                continue
            _, event_id, key, received_at_ms = stored[row]
            own_id = event_id or ids.event_id(row, received_at_ms)
            own_key = key or ids.idempotency_key(row)
            if name[1:] == (own_key if name[0] == "k" else own_id) and (
                asked[name] - received_at_ms < self._window_ms
            ):
                firsts[name] = (own_id, row)
        return firsts

    def _candidates(
        self, connection: sqlite3.Connection, asked: dict[str, int]
    ) -> list[tuple[int, str]]:
        """Event rows that may be the first, each with what it was asked for."""
        candidates: list[tuple[int, str]] = []
        for letter, texts in (("k", self._keys), ("i", self._ids)):
            hashes = {texts.hash(name[1:]): name for name in asked if name[0] == letter}
            for value, events in texts.find(connection, list(hashes)).items():
                candidates += [(row, hashes[value]) for row in events]
        for name in asked:  # one that the relay made itself, coming back
            row = _computed_row(name)
            if row is not None and row <= self._numbers.event:
                candidates.append((row, name))
        return candidates

    # --- numbers ---

    def rows(self, connection: sqlite3.Connection, count: int) -> Iterator[int]:
        """Unused event numbers; `count` is how many will be taken at most."""
        if not self._any_reserved:
            return self._count_up(frozenset())
        first = self._numbers.event + 1
        reserved: set[int] = set()
        upto = first + count
        while True:
            found = {
                row
                for (row,) in connection.execute(
                    "SELECT row FROM reserved_rows WHERE row BETWEEN ? AND ?",
                    (first, upto),
                )
            }
            if len(found) == len(reserved):
                break
            reserved = found
            upto = first + count + len(found)
        connection.execute("DELETE FROM reserved_rows WHERE row < ?", (first,))
        return self._count_up(reserved)

    def _count_up(self, reserved: "frozenset[int] | set[int]") -> Iterator[int]:
        numbers = self._numbers
        while True:
            numbers.event += 1
            if numbers.event not in reserved:
                yield numbers.event

    def reserve(self, connection: sqlite3.Connection, rows: list[int]) -> None:
        """Keep numbers from being given out."""
        connection.executemany(
            "INSERT OR IGNORE INTO reserved_rows (row) VALUES (?)", [(row,) for row in rows]
        )
        self._any_reserved = True


class _Writing:
    """The rows of one transaction's appends, collected and then written table by table."""

    def __init__(self, appender: Appender, connection: sqlite3.Connection, count: int) -> None:
        self._appender = appender
        self._connection = connection
        self._rows = appender.rows(connection, count)
        self._numbers = appender._numbers  # noqa: SLF001 - two halves of one thing
        self._events: list[Any] = []
        self._deliveries: list[Any] = []
        self._fanouts: list[tuple[int, int, bytes]] = []
        self._keys: list[tuple[int, int]] = []
        self._ids: list[tuple[int, int]] = []
        self._reserved: list[int] = []
        self._room = MAX_DELIVERIES

    def add(self, job: AppendJob, item: Append) -> Appended:
        """Collect one event that is new."""
        appender = self._appender
        event = item.event
        targets = item.targets
        row = next(self._rows)
        received_at_ms = job.received_at_ms
        event_id = event.event_id or ids.event_id(row, received_at_ms)
        key = event.idempotency_key or ids.idempotency_key(row)
        if event.event_id is not None or event.idempotency_key is not None:
            self._note_supplied(row, event)
        numbers = self._numbers
        first = numbers.delivery + 1
        count = len(targets)
        numbers.delivery += count
        event_type = appender.names.number(self._connection, event.event_type)
        pending = count > MAX_TARGETS or count > self._room
        if pending:
            self._fanouts.append((row, job.due_ms, pack_targets(targets)))
            job.fanouts.add(row)
            job.own_fanouts.append(row)
        elif count:
            self._room -= count
            add_deliveries(
                self._deliveries, first, targets, (row, event_type, received_at_ms), job.due_ms
            )
        created_at_ms = event.created_at_ms
        self._events += (
            row,
            event_type,
            appender._context,  # noqa: SLF001 - two halves of one thing
            received_at_ms,
            created_at_ms,
            event.event_id,
            event.idempotency_key,
            first,
            count,
            pending,
            event.data,
        )
        stored = StoredEvent(
            row,
            event_id,
            event.event_type,
            appender._api_version,  # noqa: SLF001 - the same
            appender._event_source,  # noqa: SLF001 - the same
            received_at_ms if created_at_ms is None else created_at_ms,
            received_at_ms,
            key,
            event.data,
        )
        return Appended(event_id, stored=stored, first_delivery_row=first, due_ms=job.due_ms)

    def _note_supplied(self, row: int, event: NewEvent) -> None:
        appender = self._appender
        for text, texts, pairs in (
            (event.event_id, appender._ids, self._ids),  # noqa: SLF001 - two halves of one thing
            (event.idempotency_key, appender._keys, self._keys),  # noqa: SLF001 - the same
        ):
            if text is None:
                continue
            pairs.append((texts.hash(text), row))
            computed = _computed_row(("i" if pairs is self._ids else "k") + text)
            if computed is not None and row < computed <= row + RESERVE_AHEAD:
                self._reserved.append(computed)

    def flush(self) -> None:
        """Write everything."""
        connection = self._connection
        _EVENTS.run(connection, self._events)
        if self._deliveries:
            DELIVERIES.run(connection, self._deliveries)
        if self._fanouts:
            connection.executemany(
                "INSERT INTO fanouts (event, due_ms, targets) VALUES (?, ?, ?)", self._fanouts
            )
        if self._keys:
            self._appender._keys.add(connection, self._keys)  # noqa: SLF001 - as above
        if self._ids:
            self._appender._ids.add(connection, self._ids)  # noqa: SLF001 - as above
        if self._reserved:
            self._appender.reserve(connection, self._reserved)


def _first_of(event: NewEvent, firsts: dict[str, tuple[str, int]]) -> tuple[str, int] | None:
    if event.idempotency_key is not None:
        first = firsts.get("k" + event.idempotency_key)
        if first is not None:
            return first
    return None if event.event_id is None else firsts.get("i" + event.event_id)


def _computed_row(name: str) -> int | None:
    """The event row that a text of the relay's own form belongs to; "k" or "i" and the text."""
    if name[0] == "k":
        return ids.idempotency_row(name[1:])
    decoded = ids.event_row(name[1:])
    return None if decoded is None else decoded[0]


def _context(connection: sqlite3.Connection, api_version: str, event_source: str) -> int:
    connection.execute(
        "INSERT OR IGNORE INTO contexts (api_version, event_source) VALUES (?, ?)",
        (api_version, event_source),
    )
    number: int = connection.execute(
        "SELECT id FROM contexts WHERE api_version = ? AND event_source = ?",
        (api_version, event_source),
    ).fetchone()[0]
    return number
