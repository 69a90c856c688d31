import asyncio
import contextlib
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from prynt_relay.clock import SystemClock
from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.store import Store, checkpoint, connection
from prynt_relay.store.connection import Connection, ThreadConnection
from tests.clock import FakeClock, turns
from tests.integration.store.parts import (
    DELIVERED,
    SCHEDULED,
    Heard,
    add_webhook,
    append,
    due,
    event_row,
    new_webhook,
    open_store,
    opened,
    rows,
    settlement,
)

T = TypeVar("T")
LARGE = b"x" * 200_000


class GatedConnection:
    """A real connection whose functions wait for a gate, and that can be told to fail."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.error: sqlite3.Error | None = None
        self.runs = 0
        self.on_run: Callable[[], None] = lambda: None

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        self.runs += 1
        self.waiting.set()
        await self.gate.wait()
        self.on_run()
        if self.error is not None:
            raise self.error
        return await self._connection.run(function)

    async def close(self) -> None:
        await self._connection.close()


class Gates:
    """An opener that keeps what it opened; the writer is the first."""

    def __init__(self) -> None:
        self.opened: list[GatedConnection] = []

    async def open(self, connect: Callable[[], sqlite3.Connection]) -> GatedConnection:
        self.opened.append(GatedConnection(await ThreadConnection.open(connect)))
        return self.opened[-1]

    @property
    def writer(self) -> GatedConnection:
        return self.opened[0]


def sqlite_error(code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


async def limit_pages(store: Store, more: int | None) -> None:
    """Let the database grow by `more` pages; then SQLite says that the disk is full."""

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        upto = 1 << 30 if more is None else pages + more
        connection.execute(f"PRAGMA max_page_count = {upto}")

    await store._opened.connection.run(limit)


async def advanced(clock: FakeClock, future: "asyncio.Future[T]") -> T:
    """Let time pass until `future` is done."""
    for _ in range(1000):
        if future.done():
            return future.result()
        await clock.advance(0.25)
        await asyncio.wait([future], timeout=0.01)
    raise TimeoutError("it did not happen")


class TestDiskFull:
    async def test_appends_fail_and_attempts_wait(self, tmp_path: Path) -> None:
        """On a full disk an append is refused, a settlement kept; both work when there is room."""
        clock = FakeClock()
        heard = Heard()
        async with opened(tmp_path, clock, observer=heard) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 200)
            waiting = await due(store, webhook.row)
            await limit_pages(store, 0)
            refused = store.append([append(data=LARGE)])
            kept = store.settle([settlement(d, revision, DELIVERED) for d in waiting])
            behind = store.settle([settlement(waiting[0], revision, DELIVERED)])
            with pytest.raises(StorageUnavailableError, match="full"):
                await advanced(clock, refused)
            assert heard.availability_changes == [False]
            with pytest.raises(StorageUnavailableError):
                await advanced(clock, store.append([append(data=LARGE)]))
            with pytest.raises(StorageUnavailableError):
                await advanced(clock, store.add_webhook(new_webhook(description="x" * 100_000)))
            assert not kept.done()
            assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(0,)]
            await limit_pages(store, None)
            await advanced(clock, kept)
            await behind
            assert store.available
            await store.append([append(data=LARGE)])
        assert heard.availability_changes == [False, True]
        assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(201,)]
        newest = "SELECT delivery, number FROM attempts ORDER BY id DESC LIMIT 1"
        assert rows(tmp_path, newest) == [(waiting[0].row, 1)]
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(201,)]

    async def test_it_notices_by_itself_when_there_is_room_again(self, tmp_path: Path) -> None:
        """Without any traffic the store finds out that writes work again."""
        clock = FakeClock()
        heard = Heard()
        async with opened(tmp_path, clock, observer=heard) as store:
            await limit_pages(store, 0)
            with pytest.raises(StorageUnavailableError):
                await store.append([append(data=LARGE)])
            await limit_pages(store, None)
            await advanced(clock, asyncio.ensure_future(heard.recovered.wait()))
        assert heard.availability_changes == [False, True]

    async def test_closing_does_not_wait_for_room(self, tmp_path: Path) -> None:
        """A store on a full disk closes; what it couldn't write is told, not left hanging."""
        store = await open_store(tmp_path)
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)] * 1000)
        waiting = await due(store, webhook.row)
        await limit_pages(store, 0)
        kept = store.settle([settlement(d, revision, DELIVERED) for d in waiting])
        await turns()
        await asyncio.wait_for(store.close(), 5)
        with pytest.raises(ShuttingDownError):
            await kept

    async def test_a_real_full_disk(self, tmp_path: Path) -> None:
        """On a file system without space nothing acknowledged is lost, and freeing some heals."""
        with small_disk(tmp_path / "disk", 2_000_000) as disk:
            heard = Heard()
            (disk / "filler").write_bytes(b"\0" * 600_000)
            async with opened(disk, SystemClock(), observer=heard) as store:
                answers = await asyncio.gather(
                    *(store.append([append(data=b"x" * 20_000)]) for _ in range(300)),
                    return_exceptions=True,
                )
                assert not store.available
                (disk / "filler").unlink()
                await asyncio.wait_for(heard.recovered.wait(), 10)
                await store.append([append(data=b"x" * 20_000)])
            stored = sum(isinstance(answer, list) for answer in answers)
            refused = sum(isinstance(answer, StorageUnavailableError) for answer in answers)
            assert stored + refused == 300
            assert refused > 0
            assert rows(disk, "SELECT count(*) FROM events") == [(stored + 1,)]
            assert rows(disk, "PRAGMA integrity_check") == [("ok",)]


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of its own; skips the test where the machine doesn't allow one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_a_read_only_database_refuses_and_heals(tmp_path: Path) -> None:
    """While SQLite can't write to the file appends are refused; afterwards they work again."""
    clock = FakeClock()
    heard = Heard()
    async with opened(tmp_path, clock, observer=heard) as store:
        await store._opened.connection.run(lambda c: c.execute("PRAGMA query_only = ON").fetchone())
        with pytest.raises(StorageUnavailableError, match="readonly"):
            await store.append([append()])
        assert not store.available
        await store._opened.connection.run(
            lambda c: c.execute("PRAGMA query_only = OFF").fetchone()
        )
        await advanced(clock, asyncio.ensure_future(heard.recovered.wait()))
        await store.append([append()])


class TestFailedSync:
    async def test_nothing_is_believed_after_it(self, tmp_path: Path) -> None:
        """After a failed fsync everything waiting fails, the daemon is told, nothing is retried."""
        gates = Gates()
        heard = Heard()
        store = await open_store(tmp_path, opener=gates.open, observer=heard)
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (waiting,) = await due(store, webhook.row)
        gates.writer.error = sqlite_error(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")
        futures: list[asyncio.Future[Any]] = [
            store.append([append()]),
            store.settle([settlement(waiting, revision, DELIVERED)]),
        ]
        for future in futures:
            with pytest.raises(StorageUnavailableError, match="SQLITE_IOERR_FSYNC"):
                await future
        with pytest.raises(StorageUnavailableError, match="restart"):
            await store.fatal
        with pytest.raises(StorageUnavailableError, match="must be restarted"):
            await store.append([append()])
        runs = gates.writer.runs
        await asyncio.wait_for(store.close(), 5)
        assert gates.writer.runs == runs
        assert heard.availability_changes == [False]

    async def test_also_at_a_checkpoint(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sync that fails while the log is moved into the database is just as final."""
        monkeypatch.setattr("prynt_relay.store.checkpoint.CHECKPOINT_BYTES", 4096)
        gates = Gates()
        store = await open_store(tmp_path, opener=gates.open)
        checkpointer = store._opened.checkpointer
        monkeypatch.setattr(
            checkpointer,
            "run",
            raiser(sqlite_error(sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC")),
        )
        await store.append([append(data=LARGE)])
        with pytest.raises(StorageUnavailableError):
            await asyncio.wait_for(store.fatal, 5)
        await store.close()


def raiser(error: Exception) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise error

    return fail


class TestCancelling:
    async def test_a_caller_that_leaves_changes_nothing(self, tmp_path: Path) -> None:
        """Cancelling the wait for an append doesn't take the event back, nor harm the next."""
        gates = Gates()
        async with opened(tmp_path, opener=gates.open) as store:
            gates.writer.gate.clear()
            gates.writer.waiting.clear()
            first = asyncio.ensure_future(store.append([append(1)]))
            second = store.append([append(1)])
            await gates.writer.waiting.wait()
            first.cancel()
            gates.writer.gate.set()
            (appended,) = await second
        assert appended.stored is not None
        assert appended.stored.row == event_row(2)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]

    async def test_a_cancelled_writer_answers_its_batch_first(self, tmp_path: Path) -> None:
        """Whoever cancels the writer's task, the batch at the database is finished and answered."""
        gates = Gates()
        store = await open_store(tmp_path, opener=gates.open)
        gates.writer.gate.clear()
        gates.writer.waiting.clear()
        first = store.append([append(1)])
        await gates.writer.waiting.wait()
        behind = store.append([append(1)])
        store._writer._task.cancel()
        await turns()
        assert not first.done()
        gates.writer.gate.set()
        (appended,) = await first
        assert appended.stored is not None
        with pytest.raises(StorageUnavailableError):
            await behind
        with pytest.raises(StorageUnavailableError):
            await store.fatal
        await store.close()
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]


class TestClosing:
    async def test_a_read_that_comes_too_late_is_told_so(self, tmp_path: Path) -> None:
        """Who reads while the store closes gets an answer or hears that the relay is leaving."""
        gates = Gates()
        store = await open_store(tmp_path, opener=gates.open)
        reads = [
            asyncio.ensure_future(store.read(lambda raw: raw.execute("SELECT 1").fetchone()))
            for _ in range(9)
        ]
        await asyncio.sleep(0)
        await store.close()
        answers = await asyncio.gather(*reads, return_exceptions=True)
        assert answers[0] == (1,)
        assert all(answer == (1,) or isinstance(answer, ShuttingDownError) for answer in answers), (
            answers
        )
        with pytest.raises(ShuttingDownError, match="closing"):
            await store.read(lambda raw: raw.execute("SELECT 1").fetchone())
        with pytest.raises(ShuttingDownError, match="closing"):
            await store.earliest_due()


class TestBounds:
    async def test_room_waits_while_the_queue_is_long(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`room` returns at once on a short queue, and after a commit on a long one."""
        monkeypatch.setattr("prynt_relay.store.writer.QUEUE_ROWS", 10)
        gates = Gates()
        async with opened(tmp_path, opener=gates.open) as store:
            await asyncio.wait_for(store.room(), 1)
            gates.writer.gate.clear()
            gates.writer.waiting.clear()
            first = store.append([append()])
            await gates.writer.waiting.wait()
            futures = [store.append([append()]) for _ in range(11)]
            room = asyncio.ensure_future(store.room())
            await turns()
            assert not room.done()
            gates.writer.gate.set()
            await asyncio.wait_for(room, 5)
            await asyncio.gather(first, *futures)

    async def test_bytes_count_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A few very large events fill the queue like many small ones."""
        monkeypatch.setattr("prynt_relay.store.writer.QUEUE_BYTES", 100_000)
        gates = Gates()
        async with opened(tmp_path, opener=gates.open) as store:
            gates.writer.gate.clear()
            gates.writer.waiting.clear()
            futures = [store.append([append()])]
            await gates.writer.waiting.wait()
            futures.append(store.append([append(data=LARGE)]))
            room = asyncio.ensure_future(store.room())
            await turns()
            assert not room.done()
            gates.writer.gate.set()
            await asyncio.wait_for(room, 5)
            await asyncio.gather(*futures)

    async def test_who_does_not_wait_for_room_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Far above the bound appends are refused at once; settlements are still taken."""
        monkeypatch.setattr("prynt_relay.store.writer.QUEUE_ROWS", 10)
        gates = Gates()
        async with opened(tmp_path, opener=gates.open) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)])
            (waiting,) = await due(store, webhook.row)
            gates.writer.gate.clear()
            gates.writer.waiting.clear()
            futures = [store.append([append()])]
            await gates.writer.waiting.wait()
            futures += [store.append([append()]) for _ in range(41)]
            with pytest.raises(StorageUnavailableError, match="wait to be written"):
                await store.append([append()])
            kept = store.settle([settlement(waiting, revision, DELIVERED)])
            gates.writer.gate.set()
            await asyncio.gather(*futures, kept)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(43,)]


class TestTheLog:
    async def test_it_stays_short_although_there_is_always_a_reader(self, tmp_path: Path) -> None:
        """Reads that overlap without end don't let the log grow without bound."""
        async with opened(tmp_path, SystemClock()) as store:
            stop = False

            def slow(connection: sqlite3.Connection) -> None:
                connection.execute("SELECT count(*) FROM events").fetchone()
                time.sleep(0.004)
                connection.execute("SELECT count(*) FROM events").fetchone()

            async def read() -> None:
                while not stop:
                    await store.read(slow)

            readers = [asyncio.ensure_future(read()) for _ in range(2)]
            for _ in range(250):
                await store.append([append(data=LARGE)])
            stop = True
            await asyncio.gather(*readers)
            assert store.sizes().database_bytes > 40_000_000
            assert store.sizes().wal_bytes < 2 * checkpoint.RESTART_BYTES

    async def test_one_that_a_long_reader_let_grow_is_cut(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a long read is over the log's file is made short again."""
        monkeypatch.setattr(checkpoint, "CHECKPOINT_BYTES", 400_000)
        monkeypatch.setattr(checkpoint, "RESTART_BYTES", 800_000)
        monkeypatch.setattr(connection, "LOG_KEPT_BYTES", 500_000)
        begun, go = threading.Event(), threading.Event()

        def long(connection: sqlite3.Connection) -> None:
            connection.execute("SELECT count(*) FROM events").fetchone()
            begun.set()
            go.wait(10)

        async with opened(tmp_path, SystemClock()) as store:
            reader = asyncio.ensure_future(store.read(long))
            await asyncio.to_thread(begun.wait, 10)
            for _ in range(10):
                await store.append([append(data=LARGE)])
            assert store.sizes().wal_bytes > 2_000_000
            go.set()
            await reader
            for _ in range(10):
                await store.append([append(data=LARGE)])
            await store.append([append()])
            assert store.sizes().wal_bytes < 1_000_000


async def test_attempts_keep_their_order_past_a_write_that_cannot_be(tmp_path: Path) -> None:
    """Settlements around an impossible write, on a disk that then fails, are written in order."""
    gates = Gates()
    clock = FakeClock()
    async with opened(tmp_path, clock, opener=gates.open) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (waiting,) = await due(store, webhook.row)
        gates.writer.gate.clear()
        gates.writer.waiting.clear()
        blocker = store.append([append()])
        await gates.writer.waiting.wait()
        bad = store.append([append(created_at_ms=1 << 70)])
        settled = []
        for number in range(3):
            waiting.attempts = number
            settled.append(
                store.settle([settlement(waiting, revision, SCHEDULED, next_attempt_ms=number)])
            )
        failures = iter([None, None, None, sqlite_error(sqlite3.SQLITE_FULL, "SQLITE_FULL")])
        gates.writer.on_run = lambda: setattr(gates.writer, "error", next(failures, None))
        gates.writer.gate.set()
        await blocker
        with pytest.raises(OverflowError):
            await bad
        await advanced(clock, asyncio.ensure_future(asyncio.wait(settled)))
    assert rows(tmp_path, "SELECT number FROM attempts ORDER BY id") == [(1,), (2,), (3,)]
    assert rows(tmp_path, "SELECT next_attempt_ms FROM deliveries") == [(2,)]


async def test_nothing_is_taken_after_closing(tmp_path: Path) -> None:
    """What is queued at closing is written; what comes later is refused; closing twice is fine."""
    store = await open_store(tmp_path)
    last = store.append([append()])
    await store.close()
    assert len(last.result()) == 1
    with pytest.raises(ShuttingDownError):
        await store.append([append()])
    await store.close()


async def test_a_read_that_fails_does_not_keep_the_log(tmp_path: Path) -> None:
    """A reader's error with a half-read cursor releases its snapshot at once."""
    errors: list[BaseException] = []
    async with opened(tmp_path) as store:
        await store.append([append()] * 10)

        def fail(connection: sqlite3.Connection) -> None:
            for _ in connection.execute("SELECT id FROM events"):
                raise KeyError("half way")

        try:
            await store.read(fail)
        except KeyError as error:
            errors.append(error)  # keeps the traceback, as a log record would
        await store.append([append()])
        busy, in_log, moved = await store._opened.connection.run(
            lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        )
    assert (busy, in_log, moved) == (0, 0, 0)
    assert errors


async def test_a_second_writer_is_waited_for_and_then_reported(tmp_path: Path) -> None:
    """A lock that somebody else's program holds makes the store unavailable, not broken."""
    clock = FakeClock()
    heard = Heard()
    async with opened(tmp_path, clock, observer=heard) as store:
        await store._opened.connection.run(
            lambda c: c.execute("PRAGMA busy_timeout = 10").fetchone()
        )
        with contextlib.closing(
            sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        ) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailableError, match="locked"):
                await store.append([append()])
            stranger.execute("ROLLBACK")
        await advanced(clock, asyncio.ensure_future(heard.recovered.wait()))
        await store.append([append()])
