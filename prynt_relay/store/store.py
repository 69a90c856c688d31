"""The store's door (docs/architecture.md)."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from prynt_relay.clock import Clock
from prynt_relay.model.delivery import DueDelivery, Settlement
from prynt_relay.model.event import Append, Appended, StoredEvent
from prynt_relay.model.mail import OutboxMail
from prynt_relay.store import due
from prynt_relay.store.append import AppendJob
from prynt_relay.store.connection import Opener, Readers, ThreadConnection
from prynt_relay.store.doors import BulkDoor, MailDoor, WebhookDoor
from prynt_relay.store.history_backlog import Backlog, count_backlog
from prynt_relay.store.opening import Opened, open_database
from prynt_relay.store.purge import Purged
from prynt_relay.store.retention import Retention
from prynt_relay.store.secret_box import SecretBox
from prynt_relay.store.settle import SettleJob
from prynt_relay.store.writer import Observer, Writer


class Sizes(msgspec.Struct, frozen=True):
    """Bytes on disk."""

    database_bytes: int
    wal_bytes: int


class _Deaf:
    """Nobody wants to know."""

    def committed(self, duration_s: float, rows: int) -> None:
        pass

    def availability(self, available: bool) -> None:
        pass


class Store(WebhookDoor, BulkDoor, MailDoor):
    """Everything durable. Writes return futures, in call order; reads are coroutines."""

    def __init__(
        self, path: Path, clock: Clock, opened: Opened, readers: Readers, writer: Writer
    ) -> None:
        """Use `Store.open`."""
        super().__init__(clock, opened, readers, writer)
        self._path = path
        self._closed = False
        self._retention = Retention(
            clock, opened.numbers, opened.dedup, write=self._bulk, read=self.read
        )

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        api_version: str,
        event_source: str,
        dedup_window_s: float,
        secret_box: SecretBox | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        observer: Observer | None = None,
        opener: Opener = ThreadConnection.open,
    ) -> "Store":
        """Open the database, making or upgrading it where needed.

        The caller holds the state folder's lock. Raises StorageError where the file is damaged,
        foreign or newer, or where a secret's key is missing.
        """
        box = secret_box or SecretBox((), random_bytes)
        opened = await open_database(
            path,
            opener,
            clock=clock,
            api_version=api_version,
            event_source=event_source,
            dedup_window_ms=int(dedup_window_s * 1000),
            box=box,
            random_bytes=random_bytes,
        )
        try:
            readers = await Readers.open(path, opener)
        except BaseException:
            await opened.connection.close()
            raise
        writer = Writer(
            opened.connection,
            opened.transaction,
            opened.checkpointer,
            clock=clock,
            observer=observer or _Deaf(),
            pending_fanouts=opened.pending_fanouts,
        )
        return cls(path, clock, opened, readers, writer)

    def abandon(self) -> None:
        """Take no more writes: the process is about to end, whether or not they are done."""
        self._writer.abandon()

    async def close(self) -> None:
        """Write what is queued, empty the log into the database and close; twice does no harm."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._readers.close()
        await self._opened.close(truncate=not self._writer.fatal.done())

    # --- events and attempts ---

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        """Store events with their deliveries, all of a batch or none.

        Resolves when everything is synced, large fan-outs included. Raises (the future does)
        StorageUnavailableError when nothing was kept.
        """
        future: asyncio.Future[list[Appended]] = asyncio.get_running_loop().create_future()
        self._writer.enqueue(
            AppendJob(
                batch,
                future,
                due_ms=self._clock.schedule_ms(),
                received_at_ms=self._clock.wall_ms(),
            )
        )
        return future

    def settle(
        self, batch: Sequence[Settlement], outbox: Sequence[OutboxMail] = ()
    ) -> asyncio.Future[None]:
        """Write attempts with their consequences; kept and retried until it is written.

        Raises ValueError at once for a settlement without a revision.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.enqueue(SettleJob(batch, outbox, future, now_ms=self._clock.wall_ms()))
        return future

    async def room(self) -> None:
        """Return when the writer's queue is below its bound."""
        await self._writer.room()

    @property
    def available(self) -> bool:
        """False from a write that failed to the next that worked."""
        return self._writer.available

    @property
    def fatal(self) -> asyncio.Future[None]:
        """Fails with StorageUnavailableError when only a restart can help; never succeeds."""
        return self._writer.fatal

    async def fanouts_written(self) -> None:
        """Return once every event before the call has all its deliveries.

        A crash may have left a large fan-out half written; it is completed at the start, and
        whoever looks for what is due must come after that.
        """
        await self._call(lambda _: None, after_fanouts=True)

    async def due_page(
        self, webhook_row: int, after: tuple[float, float], limit: int
    ) -> list[DueDelivery]:
        """A webhook's scheduled deliveries in `(due_ms, row)` order, strictly after the key."""
        return await self._readers.read_hot(
            lambda raw: due.due_page(raw, webhook_row, after, limit)
        )

    async def earliest_due(self) -> dict[int, int]:
        """When each webhook's first scheduled delivery is due (schedule's clock, ms)."""
        return await self._readers.read_hot(due.earliest_due)

    async def events(self, rows: Sequence[int]) -> dict[int, StoredEvent]:
        """Events by row; one that was purged is left out."""
        return await self._readers.read_hot(lambda raw: due.events(raw, rows))

    # --- the rest ---

    def heartbeat(self, schedule_ms: int) -> asyncio.Future[None]:
        """Note the schedule's clock, so that a later run knows when this one was last alive."""

        def beat(raw: sqlite3.Connection) -> None:
            raw.execute("UPDATE meta SET alive_schedule_ms = ?", (schedule_ms,))

        return self._call(beat)

    async def purge(
        self, history_s: float, max_size: int, on_step: Callable[[Purged], None] = lambda step: None
    ) -> Purged:
        """One pass of retention, in small steps between live batches; to be called each minute.

        Takes what was received longer than `history_s` ago and, while more than `max_size` bytes
        are in use, the oldest settled history; never an event with a scheduled delivery. Pages
        that stayed free since the pass before are given back to the file system. `on_step` is told
        what each step took, once it is committed: a pass that fails took what its steps did.
        """
        return await self._retention.run(history_s, max_size, on_step)

    @property
    def alive_schedule_ms(self) -> int:
        """The last heartbeat of the run before this one; 0 if there was none."""
        return self._opened.alive_schedule_ms

    def sizes(self) -> Sizes:
        """Bytes of the database file and of its log."""

        def size(path: Path) -> int:
            try:
                return path.stat().st_size
            except FileNotFoundError:
                return 0

        return Sizes(size(self._path), size(self._path.with_name(self._path.name + "-wal")))

    async def backlog(self) -> Backlog:
        """Count what waits; some 20 ms for a million."""
        return await self.read(count_backlog)
