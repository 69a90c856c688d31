"""The outbox's loop: every mail goes out at least once, however long the server is away."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, Literal, Protocol

import structlog

from prynt_relay.clock import Clock
from prynt_relay.config.settings import Email
from prynt_relay.errors import StorageUnavailableError
from prynt_relay.model.mail import DueMail
from prynt_relay.notify.smtp import MailRefusedError, MailServer, MailServerError, missing

BATCH: Final = 20
"""Mails over one connection; the others stay in the outbox meanwhile."""

BACKOFF_S: Final = (10, 30, 60, 120, 300, 600, 1200, 1800)
RETRY_S: Final = 3600
MAX_TRIES: Final = 80
"""Ten seconds to an hour apart: three days, of which only the time in which we ran counts."""

_STORAGE_PAUSE_S: Final = 5.0

_log = structlog.get_logger(__name__)


class Outbox(Protocol):
    """The store's part that mails need. The writes resolve once they are on disk."""

    async def due_mails(self, now_ms: int, limit: int) -> list[DueMail]:
        """Return the mails whose time has come, those that wait longest first."""
        ...

    async def next_mail_ms(self) -> int | None:
        """Return when the next mail is due, None: the outbox is empty."""
        ...

    def mail_sent(self, row: int) -> Awaitable[None]:
        """Record that the server took it."""
        ...

    def mail_failed(self, row: int, error: str, next_try_ms: int | None) -> Awaitable[None]:
        """Record a try that failed; None gives the mail up."""
        ...


class EmailCounter(Protocol):
    """The metric of section 8."""

    def email(self, result: Literal["sent", "failed", "given_up", "not_configured"]) -> None:
        """Count what became of one try."""
        ...


def retry_delay_s(failures: int) -> int:
    """How long to wait after so many failed tries of a mail (1 or more)."""
    return BACKOFF_S[failures - 1] if failures <= len(BACKOFF_S) else RETRY_S


class OutboxSender:
    """Sends what is in the outbox. `run` belongs to the supervisor and ends by cancellation.

    A mail is marked as sent after the server's 250; a crash in between sends it again, with the
    same Message-ID. `next_try_ms` is on the schedule's clock.
    """

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        email: Email,
        *,
        counter: EmailCounter,
        ca_file: Path | None = None,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._email = email
        self._ca_file = ca_file
        self._counter = counter
        self._wake = asyncio.Event()
        # Per mail that is only partly done: who has it already. Others may still be refused for
        # a while, or the disk may be full; nobody gets it again for that. Bounded by the mails
        # that are not done, a few addresses each.
        self._served: dict[int, set[str]] = {}

    def wake(self) -> None:
        """Say that the outbox has something new, once it is committed."""
        self._wake.set()

    def reconfigure(self, email: Email, *, ca_file: Path | None = None) -> None:
        """Use other settings from the next batch on."""
        self._email = email
        self._ca_file = ca_file
        self.wake()

    async def run(self) -> None:
        """Send mails as they fall due, for ever."""
        while True:
            self._wake.clear()
            try:
                batch = await self._outbox.due_mails(self._clock.schedule_ms(), BATCH)
                if batch:
                    await self._send_batch(batch)
                    continue
                next_ms = await self._outbox.next_mail_ms()
            except StorageUnavailableError as error:
                # What was sent is remembered in memory; the outbox is read again in a moment.
                _log.warning(
                    "the outbox can't be written now", action="outbox_unavailable", error=str(error)
                )
                await self._clock.sleep(_STORAGE_PAUSE_S)
                continue
            await self._wait_until(next_ms)

    async def _wait_until(self, due_ms: int | None) -> None:
        if due_ms is None:
            await self._wake.wait()
            return
        delay_s = max(due_ms - self._clock.schedule_ms(), 0) / 1000
        timer = self._clock.call_later(delay_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    async def _send_batch(self, batch: list[DueMail]) -> None:
        email = self._email
        if lacks := missing(email):
            for due in batch:
                await self._not_configured(due, lacks)
            return
        try:
            async with MailServer(email, ca_file=self._ca_file) as server:
                while batch:
                    try:
                        await self._send(server, batch[0])
                    except MailRefusedError as error:
                        await self._failed(batch[0], str(error))
                    del batch[0]
        except MailServerError as error:
            # The one that was under way and those that waited for the same connection.
            for due in batch:
                await self._failed(due, str(error))

    async def _send(self, server: MailServer, due: DueMail) -> None:
        served = self._served.setdefault(due.row, set())
        missing = [one for one in self._email.recipients if one not in served]
        if missing:
            answer = await server.send(
                due.mail, created_at_ms=due.created_at_ms, recipients=missing
            )
            served.update(one for one in missing if one not in answer.refused)
            if answer.refused:
                reasons = "; ".join(f"{who}: {why}" for who, why in answer.refused.items())
                await self._failed(due, f"refused for some recipients: {reasons}")
                return
            self._counter.email("sent")
            _log.info(
                "an e-mail was sent",
                action="email_sent",
                message_id=due.mail.message_id,
                subject=due.mail.subject,
                answer=answer.text,
            )
        await self._outbox.mail_sent(due.row)
        self._served.pop(due.row, None)

    async def _failed(self, due: DueMail, error: str) -> None:
        failures = due.tries + 1
        fields = {
            "message_id": due.mail.message_id,
            "subject": due.mail.subject,
            "tries": failures,
            "error": error,
        }
        if failures >= MAX_TRIES:
            self._counter.email("given_up")
            _log.error("an e-mail was given up", action="email_given_up", **fields)
            await self._outbox.mail_failed(due.row, error, None)
            self._served.pop(due.row, None)
            return
        delay_s = retry_delay_s(failures)
        self._counter.email("failed")
        _log.warning(
            "an e-mail could not be sent", action="email_failed", retry_in_s=delay_s, **fields
        )
        next_ms = self._clock.schedule_ms() + delay_s * 1000
        await self._outbox.mail_failed(due.row, error, next_ms)

    async def _not_configured(self, due: DueMail, lacks: str) -> None:
        self._counter.email("not_configured")
        _log.warning(
            f"an e-mail would have been sent, but {lacks}",
            action="email_not_configured",
            message_id=due.mail.message_id,
            subject=due.mail.subject,
        )
        await self._outbox.mail_failed(due.row, lacks, None)
