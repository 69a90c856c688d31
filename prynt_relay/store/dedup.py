"""Recognising what was accepted before, and keeping computed ids clear of supplied ones."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from prynt_relay.model import ids
from prynt_relay.model.event import Append, NewEvent
from prynt_relay.store.numbers import Numbers, first_event, numbers_at
from prynt_relay.store.rows import RowStatement
from prynt_relay.store.supplied import SuppliedTexts

RESERVE_AHEAD: Final = 1 << 32
"""How many numbers a supplied id or key is kept from, ahead of the counter and of where a start
would go on from now: a week at 5,000 events a second, three days of the clock."""

RESERVE_S: Final = 3 * 86_400
"""How far from now an id's own second may lie for it to be kept from being made: beyond, it would
have to be guessed as well as the number. Back too, since clocks are set back."""

PASSED_AT_ONCE: Final = 500
"""Most reserved numbers deleted with one transaction's events; a start may have passed many."""

First = tuple[str, int]
"""The id and the row of the event that a key or an id came with first."""

_FIRSTS = RowStatement(
    "SELECT id, event_id, idempotency_key, received_at_ms FROM events WHERE id IN (VALUES ",
    1,
    ")",
)
_NOBODY: Final[frozenset[int]] = frozenset()


class Supplied:
    """The keys and ids that publishers supplied with one transaction's events.

    `keys` and `ids` hold the hash of each; `first_keys` and `first_ids` the event that it belongs
    to: one from before within the window, or the first in this transaction.
    """

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.ids: dict[str, int] = {}
        self.first_keys: dict[str, First] = {}
        self.first_ids: dict[str, First] = {}

    def first_of(self, event: NewEvent) -> First | None:
        """The event that `event` repeats, if it does; its key counts before its id."""
        if event.idempotency_key is not None:
            first = self.first_keys.get(event.idempotency_key)
            if first is not None:
                return first
        return None if event.event_id is None else self.first_ids.get(event.event_id)

    def add(self, event: NewEvent, first: First) -> None:
        """`event` is new: what comes with its key or id from now on repeats it."""
        if event.idempotency_key is not None:
            self.first_keys[event.idempotency_key] = first
        if event.event_id is not None:
            self.first_ids[event.event_id] = first


class Dedup:
    """Knows what was supplied before; lives on the writer's thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        numbers: Numbers,
        keys: SuppliedTexts,
        ids: SuppliedTexts,
        window_ms: int,
    ) -> None:
        self._numbers = numbers
        self._keys = keys
        self._ids = ids
        self._window_ms = window_ms
        self._any_reserved = (
            connection.execute("SELECT 1 FROM reserved_rows LIMIT 1").fetchone() is not None
        )

    def find(
        self, connection: sqlite3.Connection, events: Sequence[Append], received_at_ms: int
    ) -> Supplied:
        """Hash what came with these events and find what came before within the window.

        A supplied text that the relay itself made for an event within the window repeats it too.
        """
        supplied = Supplied()
        keys, own_ids = supplied.keys, supplied.ids
        hash_key, hash_id = self._keys.hash, self._ids.hash
        for item in events:
            event = item.event
            if event.idempotency_key is not None:
                keys[event.idempotency_key] = hash_key(event.idempotency_key)
            if event.event_id is not None:
                own_ids[event.event_id] = hash_id(event.event_id)
        oldest_ms = received_at_ms - self._window_ms
        last = self._numbers.event
        if keys:
            rows = self._keys.find(connection, keys.values())
            rows += [row for row in map(key_row, keys) if row is not None and row <= last]
            for event_row, own_id, own_key in _read(connection, rows, oldest_ms):
                if own_key in keys:
                    supplied.first_keys[own_key] = (own_id, event_row)
        if own_ids:
            rows = self._ids.find(connection, own_ids.values())
            rows += [row for row in map(id_row, own_ids) if row is not None and row <= last]
            for event_row, own_id, _ in _read(connection, rows, oldest_ms):
                if own_id in own_ids:
                    supplied.first_ids[own_id] = (own_id, event_row)
        return supplied

    def write(
        self,
        connection: sqlite3.Connection,
        keys: list[tuple[int, int]],
        own_ids: list[tuple[int, int]],
        reserved: list[int],
    ) -> None:
        """Remember `(hash, event)` pairs of new events, and the numbers that they rule out."""
        if keys:
            self._keys.add(connection, keys)
        if own_ids:
            self._ids.add(connection, own_ids)
        if reserved:
            connection.executemany(
                "INSERT OR IGNORE INTO reserved_rows (row) VALUES (?)",
                [(row,) for row in reserved],
            )
            self._any_reserved = True

    def unreserved(self, connection: sqlite3.Connection, count: int) -> "frozenset[int] | set[int]":
        """The numbers to skip when the next `count` events get theirs."""
        if not self._any_reserved:
            return _NOBODY
        first = self._numbers.event + 1
        connection.execute(
            "DELETE FROM reserved_rows WHERE row IN"
            " (SELECT row FROM reserved_rows WHERE row < ? ORDER BY row LIMIT ?)",
            (first, PASSED_AT_ONCE),
        )
        skipped: set[int] = set()
        while True:
            found = {
                row
                for (row,) in connection.execute(
                    "SELECT row FROM reserved_rows WHERE row BETWEEN ? AND ?",
                    (first, first + count + len(skipped)),
                )
            }
            if len(found) == len(skipped):
                return skipped
            skipped = found

    def forget(self, connection: sqlite3.Connection, now_ms: int) -> int:
        """Delete some keys that are older than the window, and some ids whose events are gone.

        Returns how many rows went, 0 when there is nothing left to do.
        """
        within = first_event(connection, now_ms - self._window_ms, now_ms)
        self._keys.drop_filters(connection, within)
        self._ids.drop_filters(connection, within)
        oldest: int | None = connection.execute("SELECT min(id) FROM events").fetchone()[0]
        return self._keys.forget(connection, within) or self._ids.forget(
            connection, self._numbers.event + 1 if oldest is None else oldest
        )


def _read(
    connection: sqlite3.Connection, rows: list[int], oldest_ms: int
) -> Iterator[tuple[int, str, str]]:
    """Row, id and key of those events that are there and within the window, oldest first."""
    if not rows:
        return
    for row, event_id, key, received_at_ms in sorted(_FIRSTS.fetch(connection, sorted(set(rows)))):
        if received_at_ms > oldest_ms:
            yield (
                row,
                event_id or ids.event_id(row, received_at_ms),
                key or ids.idempotency_key(row),
            )


def ruled_out(event: NewEvent, row: int, received_at_ms: int) -> Iterator[int]:
    """The numbers that no later event may get, since `event` in `row` came with what they make."""
    key, event_id = event.idempotency_key, event.event_id
    number = None if key is None else key_row(key)
    if number is not None and _is_soon(number, row, received_at_ms):
        yield number
    decoded = None if event_id is None else ids.event_row(event_id)
    if decoded is not None:
        number, second = decoded
        away_s = abs(second - received_at_ms // 1000)
        if away_s <= RESERVE_S and _is_soon(number, row, received_at_ms):
            yield number


def _is_soon(number: int, last: int, now_ms: int) -> bool:
    starts = (last, numbers_at(now_ms)[0])
    return any(start < number <= start + RESERVE_AHEAD for start in starts)


def key_row(key: str) -> int | None:
    """The event row that a key of the relay's own form belongs to."""
    return ids.idempotency_row(key) if key.startswith("idk_") else None


def id_row(event_id: str) -> int | None:
    """The event row that an id of the relay's own form belongs to."""
    decoded = ids.event_row(event_id)
    return None if decoded is None else decoded[0]
