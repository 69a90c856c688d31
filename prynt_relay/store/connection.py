"""Connections to the database file: one that writes, a few that can only read.

Everything that needs aiosqlite's internals is in `ThreadConnection.run`.
"""

import asyncio
import sqlite3
import traceback
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast
from urllib.parse import quote

import aiosqlite

from prynt_relay.errors import ShuttingDownError, StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T = TypeVar("T")

READERS: Final = 2
"""Read-only connections for history, beside the one that is the dispatcher's own."""

PAGE_BYTES: Final = 8192
"""Of a new database; one keeps the size that it was made with. Each page is two system calls on
its way into the log and two on its way out of it: with 4 KiB a body of 100 KB takes half as much
processor time again. With 16 KiB it would take a fifth less, but a lone event, which changes some
ten pages however small it is, would write 150 KB instead of 80."""

LOG_KEPT_BYTES: Final = 8 * 1024 * 1024
"""What the log's file is cut to when it is begun anew: twice what makes a checkpoint due. Below it
the file stays as it is, since cutting it and letting it grow again makes syncs dearer."""

_CACHED_STATEMENTS: Final = 512
_WRITER_CACHE_KIB: Final = 16_384
_READER_CACHE_KIB: Final = 4_096


class Connection(Protocol):
    """A database connection on whose thread a function can be run."""

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` with the raw connection and return what it returns."""
        ...

    async def close(self) -> None:
        """Close it; once is enough, twice does no harm."""
        ...


Opener = Callable[[Callable[[], sqlite3.Connection]], Awaitable[Connection]]


class ThreadConnection:
    """A connection on aiosqlite's thread."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._closed = False

    @classmethod
    async def open(cls, connect: Callable[[], sqlite3.Connection]) -> "ThreadConnection":
        """Start the thread and call `connect` on it."""
        connection = aiosqlite.Connection(connect, iter_chunk_size=64)
        # A program that ends without closing the store must end, not wait for this thread.
        thread = connection._thread  # noqa: SLF001 - guarded like `run`
        thread.daemon = True
        try:
            await connection
        except BaseException:
            # It ends by itself, but not before it has told this loop, which may be closed by then.
            await asyncio.to_thread(thread.join)
            raise
        return cls(connection)

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on the thread, in one hop.

        aiosqlite's public methods cost a hop (about 0.15 ms) a statement; a transaction is
        several. `_execute` and `_conn` are private: tests/unit/test_store_seam.py guards them.
        Cancelling the caller doesn't stop the function.
        """
        raw = self._connection._conn  # noqa: SLF001 - the one seam, see above
        execute = cast("Callable[..., Awaitable[T]]", self._connection._execute)  # noqa: SLF001
        return await execute(function, raw)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if not self._closed:
            self._closed = True
            await self._connection.close()


class InlineConnection:
    """A connection without a thread, for simulations that must replay exactly."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, connect: Callable[[], sqlite3.Connection]) -> "InlineConnection":
        """Connect at once."""
        return cls(connect())

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on the caller's thread; others get their turn before it."""
        await asyncio.sleep(0)
        return function(self._connection)

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints."""
    connection = sqlite3.connect(
        path, isolation_level=None, cached_statements=_CACHED_STATEMENTS, check_same_thread=False
    )
    # Both count only before the first table.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
    return connection


def start_wal(connection: sqlite3.Connection) -> None:
    """Switch the writer to a write-ahead log that it alone checkpoints, synced at each commit.

    Raises StorageError on a file system that can't do it.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StorageError(
            f"the database can't keep a write-ahead log here (its journal stays {mode!r}); put "
            "state_dir on a local file system"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_KEPT_BYTES}").fetchone()
    # Zero what is deleted inside pages that are written anyway; freed pages cost no write more.
    connection.execute("PRAGMA secure_delete = FAST")


def connect_reader(path: Path, *, query_only: bool = True) -> sqlite3.Connection:
    """A connection that can't change anything.

    `query_only` forbids writing to any file; `VACUUM INTO` writes to one of its own.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
        check_same_thread=False,
    )
    if query_only:
        connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA mmap_size = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def in_snapshot(
    function: Callable[[sqlite3.Connection], T],
) -> Callable[[sqlite3.Connection], T]:
    """Let all of `function`'s reads see one state of the database."""

    def run(connection: sqlite3.Connection) -> T:
        connection.execute("BEGIN")
        try:
            return function(connection)
        except BaseException as error:
            # A cursor that the traceback keeps alive would keep the snapshot, and so the log.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            connection.execute("ROLLBACK")

    return run


class Readers:
    """The read-only connections: one for the dispatcher, some that everyone else shares.

    A slow list request never makes the dispatcher wait. Who finds all shared ones busy waits
    for its turn, in order. Who comes, or gets its turn, after the closing has begun is told so:
    both ways of reading raise ShuttingDownError then.
    """

    def __init__(self, hot: Connection, shared: list[Connection]) -> None:
        self._hot = hot
        self._all = [hot, *shared]
        self._free: asyncio.Queue[Connection] = asyncio.Queue()
        for connection in shared:
            self._free.put_nowait(connection)
        self._closing = False

    @classmethod
    async def open(cls, path: Path, opener: Opener, count: int = READERS) -> "Readers":
        """Open all connections to the database at `path`, which the writer has open."""
        connections = [await opener(lambda: connect_reader(path)) for _ in range(count + 1)]
        return cls(connections[0], connections[1:])

    async def read_hot(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a short read of the dispatcher's."""
        return await self._run(self._hot, function)

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run anyone else's read."""
        async with self._borrow() as connection:
            return await self._run(connection, function)

    async def _run(self, connection: Connection, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._closing:
            raise ShuttingDownError("the store is closing; ask again after the restart")
        return await connection.run(in_snapshot(function))

    @asynccontextmanager
    async def _borrow(self) -> "AsyncIterator[Connection]":
        connection = await self._free.get()
        try:
            yield connection
        finally:
            self._free.put_nowait(connection)

    async def close(self) -> None:
        """Close all; reads that run are finished first."""
        self._closing = True
        for connection in self._all:
            await connection.close()
