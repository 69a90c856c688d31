import asyncio
import contextlib
import inspect
import sqlite3
import threading
from typing import Any

import aiosqlite
import pytest

from prynt_relay.store.connection import InlineConnection, ThreadConnection


async def test_aiosqlite_still_runs_functions_on_its_thread() -> None:
    """The three private names of aiosqlite that the seam uses are there and mean what they did."""
    connection = aiosqlite.Connection(lambda: sqlite3.connect(":memory:"), iter_chunk_size=1)
    parameters = inspect.signature(connection._execute).parameters
    assert [p.kind for p in parameters.values()] == [
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ]
    assert isinstance(connection._thread, threading.Thread)
    await connection
    assert isinstance(connection._conn, sqlite3.Connection)
    await connection.close()


async def test_a_function_runs_with_the_raw_connection_off_the_loop() -> None:
    """What runs gets sqlite3's own connection, on one thread that isn't the loop's."""
    connection = await ThreadConnection.open(
        lambda: sqlite3.connect(":memory:", check_same_thread=True)
    )
    threads = set()

    def ask(raw: sqlite3.Connection) -> Any:
        threads.add(threading.current_thread())
        return raw.execute("SELECT 41 + 1").fetchone()[0]

    try:
        assert [await connection.run(ask) for _ in range(3)] == [42] * 3
        assert len(threads) == 1
        assert threading.current_thread() not in threads
        assert threads.pop().daemon
    finally:
        await connection.close()
    await connection.close()


async def test_an_error_comes_back_as_it_was() -> None:
    """What a function raises is raised where it was awaited, and the connection goes on."""
    connection = await ThreadConnection.open(lambda: sqlite3.connect(":memory:"))
    try:
        with pytest.raises(sqlite3.OperationalError, match="syntax") as caught:
            await connection.run(lambda raw: raw.execute("nonsense"))
        assert caught.value.sqlite_errorcode == sqlite3.SQLITE_ERROR
        assert await connection.run(lambda raw: raw.execute("SELECT 1").fetchone()) == (1,)
    finally:
        await connection.close()


async def test_cancelling_does_not_stop_the_function() -> None:
    """A cancelled caller leaves; the function runs to its end, before anything after it."""
    connection = await ThreadConnection.open(lambda: sqlite3.connect(":memory:"))
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(_: sqlite3.Connection) -> None:
        begun.set()
        go.wait(5)
        ended.set()

    try:
        caller = asyncio.ensure_future(connection.run(slow))
        await asyncio.to_thread(begun.wait, 5)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        assert not ended.is_set()
        go.set()
        await connection.run(lambda _: None)
        assert ended.is_set()
    finally:
        await connection.close()


async def test_a_connection_that_cannot_be_opened_leaves_no_thread() -> None:
    """When connecting fails the error is the caller's and the thread is gone."""
    before = threading.active_count()

    def fail() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await ThreadConnection.open(fail)
    # asyncio.to_thread may keep one thread of its own.
    assert threading.active_count() <= before + 1


async def test_the_inline_connection_stays_on_the_loop() -> None:
    """For simulations the same function runs on the caller's thread."""
    connection = await InlineConnection.open(lambda: sqlite3.connect(":memory:"))
    assert await connection.run(lambda _: threading.current_thread()) is threading.current_thread()
    await connection.close()
