"""The parts of the store's door that aren't the hot path: webhooks, bulk work, mails, retention."""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

import msgspec

from prynt_relay.clock import Clock
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.mail import DueMail, OutboxMail
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import NewWebhook, Webhook
from prynt_relay.store import bulk, outbox
from prynt_relay.store.bulk import BulkJob, RetryChunk
from prynt_relay.store.connection import Readers
from prynt_relay.store.opening import Opened
from prynt_relay.store.transaction import CallJob
from prynt_relay.store.writer import Writer

T = TypeVar("T")

Template = Callable[[Webhook], str]
"""How a webhook's requests look, as text that the delivery log keeps (`transport.describe`)."""

CHUNK_ROWS: Final = 500
"""Rows that one chunk of bulk work changes: some 5 ms on the writer."""


class Door:
    """What all parts stand on: a way to read and a way to write."""

    def __init__(self, clock: Clock, opened: Opened, readers: Readers, writer: Writer) -> None:
        self._clock = clock
        self._opened = opened
        self._readers = readers
        self._writer = writer

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run `function` on a read-only connection, in one hop, seeing one state.

        Raises ShuttingDownError once the store closes.
        """
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
        kept: bool = False,
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.enqueue(
            CallJob(
                function, future, rows=rows, alone=alone, after_fanouts=after_fanouts, kept=kept
            )
        )
        return future

    def _bulk(self, function: Callable[[sqlite3.Connection], T], rows: int) -> asyncio.Future[T]:
        return self._call(function, rows=rows, alone=True, after_fanouts=True)


class WebhookDoor(Door):
    """Webhooks."""

    async def webhooks(self) -> list[Webhook]:
        """Every webhook that isn't deleted, oldest first."""
        return await self.read(self._opened.webhooks.read_all)

    def add_webhook(
        self,
        new: NewWebhook,
        outbox: Sequence[OutboxMail] = (),
        *,
        template: Template | None = None,
    ) -> asyncio.Future[Webhook]:
        """Insert a webhook, with the revision that `template` gives it, all or nothing."""
        now_ms = self._clock.wall_ms()

        def add(raw: sqlite3.Connection) -> Webhook:
            self._mail(raw, outbox, now_ms)
            return self._pictured(raw, self._opened.webhooks.add(raw, new, now_ms), template)

        return self._call(add, after_fanouts=True)

    def update_webhook(
        self,
        row: int,
        *,
        outbox: Sequence[OutboxMail] = (),
        template: Template | None = None,
        kept: bool = False,
        **changes: Any,
    ) -> asyncio.Future[Webhook]:
        """Replace fields of a webhook, by their names in `Webhook`, all or nothing.

        `template` gives it a new revision. Disabling it notes that its scheduled deliveries are to
        be held (`bulk_jobs`), enabling it ends that. A change that is `kept` waits where the disk
        takes nothing, before what is settled after it. Raises (the future does) NotFoundError.
        """
        now_ms = self._clock.wall_ms()

        def update(raw: sqlite3.Connection) -> Webhook:
            webhook = self._opened.webhooks.update(raw, row, changes, now_ms)
            webhook = self._pictured(raw, webhook, template)
            if changes.get("enabled") is False:
                bulk.add_job(raw, "hold", row, now_ms)
            elif changes.get("enabled") is True:
                bulk.end_jobs(raw, row, "hold")
            self._mail(raw, outbox, now_ms)
            return webhook

        return self._call(update, after_fanouts=True, kept=kept)

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

    def _pictured(
        self, raw: sqlite3.Connection, webhook: Webhook, template: Template | None
    ) -> Webhook:
        if template is None:
            return webhook
        revision_row = self._opened.webhooks.set_revision(raw, webhook.row, template(webhook))
        return msgspec.structs.replace(webhook, revision_row=revision_row)

    @staticmethod
    def _mail(raw: sqlite3.Connection, mails: Sequence[OutboxMail], now_ms: int) -> None:
        if mails:
            outbox.add(raw, mails, now_ms)


class BulkDoor(Door):
    """Changes to very many deliveries, and the manual retry of one."""

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
        `retry_chunk` is called. Raises ConflictError unless the webhook is enabled.
        """
        now_ms = self._clock.wall_ms()
        first = await self.read(lambda raw: bulk.first_row(raw, since_ms))

        def start(raw: sqlite3.Connection) -> BulkJob:
            job = BulkJob(
                0,
                "retry",
                webhook_row,
                since_ms,
                until_ms,
                tuple(sorted(states, reverse=True)),
                first_row=first,
                max_row=self._opened.numbers.delivery,
                max_attempt=self._opened.numbers.attempt,
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


class MailDoor(Door):
    """The outbox."""

    async def due_mails(self, limit: int = 20) -> list[DueMail]:
        """Mails to send now, those that wait longest first; a new one is due at once."""
        now_ms = self._clock.schedule_ms()
        return await self.read(lambda raw: outbox.due(raw, now_ms, limit))

    async def next_mail_ms(self) -> int | None:
        """When the next mail is due (schedule's clock, ms), None when there is none."""
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
        """Try again at `next_try_ms` (schedule's clock), or give up where it is None."""
        return self._call(lambda raw: outbox.failed(raw, row, error, next_try_ms))
