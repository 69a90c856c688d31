"""Handling an event once, although it may be delivered twice (specification, section 7)."""

import contextlib
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Final, Self

WINDOW_S: Final = 86_400.0
"""The specification's 24 hours: retries are over long before."""


class Guard(ABC):
    """Remembers idempotency keys for a window of time."""

    @abstractmethod
    def first(self, key: str) -> bool:
        """Remember `key`; whether it was new. Of several callers at once one gets True."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Forget `key`: its event could not be handled, so that another delivery may try."""

    @contextlib.contextmanager
    def once(self, key: str) -> Iterator[bool]:
        """Enter with whether `key` was new; forget it again if the block raises.

        Answer the relay with an error then, and its retry comes through.
        """
        first = self.first(key)
        try:
            yield first
        except BaseException:
            if first:
                self.forget(key)
            raise


class KeyValueGuard(Guard):
    """Over any store that can set a key if it is absent and let it expire.

    With Redis:

        KeyValueGuard(lambda key, ttl_s: bool(redis.set(f"wh:{key}", 1, nx=True, ex=int(ttl_s))),
                      lambda key: redis.delete(f"wh:{key}"))
    """

    def __init__(
        self,
        set_if_absent: Callable[[str, float], bool],
        delete: Callable[[str], object],
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        """`set_if_absent(key, seconds)` must be atomic and say whether it set the key."""
        self._set_if_absent = set_if_absent
        self._delete = delete
        self._window_s = window_s

    def first(self, key: str) -> bool:
        """Remember `key`; whether it was new."""
        return bool(self._set_if_absent(key, self._window_s))

    def forget(self, key: str) -> None:
        """Forget `key`."""
        self._delete(key)


class SQLiteGuard(Guard):
    """In an SQLite file: survives restarts, and serves the threads and processes of one machine.

    A call takes a write to the disk; in an event loop use `asyncio.to_thread(guard.first, key)`.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        window_s: float = WINDOW_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Open or make the file. `now` gives Unix time in seconds."""
        self._window_s = window_s
        self._now = now
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False
        )
        try:
            # No WAL: SQLite before 3.51.3 can damage one that several processes write to.
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS seen"
                " (key TEXT PRIMARY KEY, until_s REAL NOT NULL) WITHOUT ROWID"
            )
            self._connection.execute("CREATE INDEX IF NOT EXISTS seen_until ON seen (until_s)")
        except BaseException:
            self._connection.close()
            raise

    def first(self, key: str) -> bool:
        """Remember `key`; whether it was new. Raises `sqlite3.Error` if it can't be written."""
        now_s = self._now()
        with self._lock, self._transaction() as connection:
            # A few at a time, so that no call pays for a day of them.
            connection.execute(
                "DELETE FROM seen WHERE key IN"
                " (SELECT key FROM seen WHERE until_s <= ? ORDER BY until_s LIMIT 10)",
                (now_s,),
            )
            cursor = connection.execute(
                "INSERT INTO seen (key, until_s) VALUES (?1, ?2)"
                " ON CONFLICT (key) DO UPDATE SET until_s = ?2 WHERE until_s <= ?3",
                (key, now_s + self._window_s, now_s),
            )
            return cursor.rowcount == 1

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # the block or the commit failed
                self._connection.execute("ROLLBACK")

    def forget(self, key: str) -> None:
        """Forget `key`."""
        with self._lock:
            self._connection.execute("DELETE FROM seen WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
