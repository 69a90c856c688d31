"""The store's door (docs/architecture.md)."""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from prynt_relay.clock import Clock
from prynt_relay.model.delivery import DueDelivery, Settlement
from prynt_relay.model.event import Append, Appended, StoredEvent
from prynt_relay.model.mail import DueMail, OutboxMail
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import NewWebhook, Webhook
from prynt_relay.store import bulk, due, outbox
from prynt_relay.store.append import AppendJob
from prynt_relay.store.bulk import BulkJob, RetryChunk
from prynt_relay.store.connection import Opener, Readers, ThreadConnection
from prynt_relay.store.opening import Opened, open_database
from prynt_relay.store.secret_box import SecretBox
from prynt_relay.store.settle import SettleJob
from prynt_relay.store.transaction import CallJob
from prynt_relay.store.writer import Observer, Writer

T = TypeVar("T")

CHUNK_ROWS: Final = 500
"""Rows that one chunk of bulk work changes: some 5 ms on the writer."""


class Sizes(msgspec.Struct, frozen=True):
    """Bytes on disk."""

    database_bytes: int
    wal_bytes: int


class Backlog(msgspec.Struct, frozen=True):
    """What waits: counts, and the earliest due time on the schedule's clock."""

    scheduled: int
    held: int
    oldest_due_ms: int | None


class _Deaf:
    """Nobody wants to know."""

    def committed(self, duration_s: float, rows: int) -> None:
        pass

    def availability(self, available: bool) -> None:
        pass


class Store:
    """Everything durable. Writes return futures, in call order; reads are coroutines."""

    def __init__(
        self, path: Path, clock: Clock, opened: Opened, readers: Readers, writer: Writer
    ) -> None:
        """Use `Store.open`."""
        self._path = path
        self._clock = clock
        self._opened = opened
        self._readers = readers
        self._writer = writer
        self._closed = False

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

    async def close(self) -> None:
        """Write what is queued, empty the log into the database and close; twice does no harm."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._readers.close()
        await self._opened.close(truncate=not self._writer.fatal.done())

    # --- the seams for other modules of this package ---

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on a read-only connection, in one hop, seeing one state."""
        return await self._readers.read(function)

    def write(self, function: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run `function` in the writer's order, inside a batch's transaction.

        What it raises rolls back what it did and goes to the future alone. It may run again if
        the transaction has to be repeated, so it must do nothing but SQL.
        """
        return self._call(function)

    def _call(
        self,
        function: Callable[[sqlite3.Connection], T],
        *,
        rows: int = 1,
        alone: bool = False,
        after_fanouts: bool = False,
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.enqueue(
            CallJob(function, future, rows=rows, alone=alone, after_fanouts=after_fanouts)
        )
        return future

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

    # --- webhooks ---

    async def webhooks(self) -> list[Webhook]:
        """Every webhook that isn't deleted, oldest first."""
        return await self.read(self._opened.webhooks.read_all)

    def add_webhook(
        self, new: NewWebhook, outbox: Sequence[OutboxMail] = ()
    ) -> asyncio.Future[Webhook]:
        """Insert a webhook."""
        now_ms = self._clock.wall_ms()

        def add(raw: sqlite3.Connection) -> Webhook:
            self._mail(raw, outbox, now_ms)
            return self._opened.webhooks.add(raw, new, now_ms)

        return self._call(add, after_fanouts=True)

    def update_webhook(
        self, row: int, *, outbox: Sequence[OutboxMail] = (), **changes: Any
    ) -> asyncio.Future[Webhook]:
        """Replace fields of a webhook, by their names in `Webhook`.

        Disabling it notes that its scheduled deliveries are to be held (`bulk_jobs`), enabling it
        ends that. Raises (the future does) NotFoundError.
        """
        now_ms = self._clock.wall_ms()

        def update(raw: sqlite3.Connection) -> Webhook:
            webhook = self._opened.webhooks.update(raw, row, changes, now_ms)
            if changes.get("enabled") is False:
                bulk.add_job(raw, "hold", row, now_ms)
            elif changes.get("enabled") is True:
                bulk.end_jobs(raw, row, "hold")
            self._mail(raw, outbox, now_ms)
            return webhook

        return self._call(update, after_fanouts=True)

    def delete_webhook(self, row: int, outbox: Sequence[OutboxMail] = ()) -> asyncio.Future[None]:
        """Delete a webhook and note that its open deliveries are to be cancelled.

        Its row goes when its history is purged. Raises (the future does) NotFoundError.
        """
        now_ms = self._clock.wall_ms()

        def delete(raw: sqlite3.Connection) -> None:
            self._opened.webhooks.delete(raw, row, now_ms)
            bulk.add_job(raw, "cancel", row, now_ms)
            self._mail(raw, outbox, now_ms)

        return self._call(delete, after_fanouts=True)

    def set_revision(self, webhook_row: int, template: str) -> asyncio.Future[int]:
        """Keep how a webhook's requests look from now on; returns the revision's row."""
        return self._call(
            lambda raw: self._opened.webhooks.set_revision(raw, webhook_row, template)
        )

    @staticmethod
    def _mail(raw: sqlite3.Connection, mails: Sequence[OutboxMail], now_ms: int) -> None:
        if mails:
            outbox.add(raw, mails, now_ms)

    # --- bulk work ---

    async def bulk_jobs(self) -> list[BulkJob]:
        """What was begun and isn't finished; for the start of the daemon."""
        return await self.read(bulk.read_jobs)

    def hold_chunk(self, webhook_row: int, limit: int = CHUNK_ROWS) -> asyncio.Future[int]:
        """Make scheduled deliveries of a disabled webhook held; returns how many, 0: done."""
        return self._bulk(lambda raw: bulk.hold_chunk(raw, webhook_row, limit), limit)

    def cancel_chunk(self, webhook_row: int, limit: int = CHUNK_ROWS) -> asyncio.Future[int]:
        """Make open deliveries of a deleted webhook cancelled; returns how many, 0: done."""
        return self._bulk(lambda raw: bulk.cancel_chunk(raw, webhook_row, limit), limit)

    async def start_retry(
        self,
        webhook_row: int,
        since_ms: int,
        states: Collection[DeliveryState],
        until_ms: int | None = None,
    ) -> BulkJob:
        """Note that a window is to be retried; once this returns it survives a restart.

        The window is of times of receipt, `since_ms <= t < until_ms`. Nothing is sent before
        `retry_chunk` is called.
        """
        first = await self.read(lambda raw: bulk.first_row(raw, since_ms))
        now_ms = self._clock.wall_ms()

        def start(raw: sqlite3.Connection) -> BulkJob:
            job = BulkJob(
                0,
                "retry",
                webhook_row,
                since_ms,
                until_ms,
                tuple(sorted(states, reverse=True)),
                max_row=self._opened.numbers.delivery,
                cursor=first,
            )
            return bulk.add_retry(raw, job, now_ms)

        return await self._call(start, after_fanouts=True)

    async def count_retry(self, job: BulkJob) -> int:
        """How many deliveries a retry that hasn't begun will make due."""
        return await self.read(lambda raw: bulk.count_retry(raw, job))

    def retry_chunk(
        self,
        job: BulkJob,
        *,
        busy_rows: Collection[int] = (),
        limit: int = CHUNK_ROWS,
    ) -> asyncio.Future[RetryChunk]:
        """Make some of a retry's deliveries due now; go on with the job that it returns.

        `busy_rows` are left alone: they are in flight or being settled.
        """
        now_ms = self._clock.schedule_ms()
        return self._bulk(
            lambda raw: bulk.retry_chunk(raw, job, limit=limit, busy_rows=busy_rows, now_ms=now_ms),
            limit,
        )

    def retry_one(self, delivery_row: int) -> asyncio.Future[DueDelivery]:
        """Make one delivery due now.

        Raises (the future does) NotFoundError, or ConflictError of a cancelled one.
        """
        now_ms = self._clock.schedule_ms()
        return self._call(lambda raw: bulk.retry_one(raw, delivery_row, now_ms), after_fanouts=True)

    async def webhook_of(self, delivery_row: int) -> int | None:
        """The row of the webhook that a delivery belongs to, None if there is no such delivery."""

        def find(raw: sqlite3.Connection) -> int | None:
            found = raw.execute(
                "SELECT webhook FROM deliveries WHERE id = ?", (delivery_row,)
            ).fetchone()
            return None if found is None else int(found[0])

        return await self.read(find)

    def _bulk(self, function: Callable[[sqlite3.Connection], T], rows: int) -> asyncio.Future[T]:
        return self._call(function, rows=rows, alone=True, after_fanouts=True)

    # --- the outbox ---

    async def due_mails(self, limit: int = 20) -> list[DueMail]:
        """Mails to send now, those that wait longest first."""
        now_ms = self._clock.wall_ms()
        return await self.read(lambda raw: outbox.due(raw, now_ms, limit))

    async def next_mail_ms(self) -> int | None:
        """When the next mail is due (wall, ms), None when there is none."""
        return await self.read(outbox.next_try_ms)

    def add_mails(self, mails: Sequence[OutboxMail]) -> asyncio.Future[None]:
        """Put mails in that belong to no other change."""
        now_ms = self._clock.wall_ms()
        return self._call(lambda raw: outbox.add(raw, mails, now_ms))

    def mail_sent(self, row: int) -> asyncio.Future[None]:
        """The server took it."""
        now_ms = self._clock.wall_ms()
        return self._call(lambda raw: outbox.sent(raw, row, now_ms))

    def mail_failed(self, row: int, error: str, next_try_ms: int | None) -> asyncio.Future[None]:
        """Try again at `next_try_ms` (wall), or give up where it is None."""
        return self._call(lambda raw: outbox.failed(raw, row, error, next_try_ms))

    # --- the rest ---

    def heartbeat(self, schedule_ms: int) -> asyncio.Future[None]:
        """Note the schedule's clock, so that a later run knows when this one was last alive."""

        def beat(raw: sqlite3.Connection) -> None:
            raw.execute("UPDATE meta SET alive_schedule_ms = ?", (schedule_ms,))

        return self._call(beat)

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

        def count(raw: sqlite3.Connection) -> Backlog:
            scheduled = raw.execute(
                "SELECT count(*) FROM deliveries WHERE next_attempt_ms IS NOT NULL"
            ).fetchone()[0]
            held = raw.execute("SELECT count(*) FROM deliveries WHERE state = 3").fetchone()[0]
            return Backlog(scheduled, held, min(due.earliest_due(raw).values(), default=None))

        return await self.read(count)
