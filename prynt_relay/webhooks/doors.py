"""What the webhooks room asks of the rooms around it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from prynt_relay.model.delivery import AttemptResult, DueDelivery
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import DeliveryState, Format
from prynt_relay.model.webhook import Health, NewWebhook, Webhook
from prynt_relay.store import BulkJob, RetryChunk


class WebhookStore(Protocol):
    """The store's part that changes need; each call is in the order of the calls."""

    @property
    def available(self) -> bool:
        """Whether the disk takes writes, as far as the last one told."""
        ...

    def add_webhook(
        self, new: NewWebhook, *, template: Callable[[Webhook], str]
    ) -> asyncio.Future[Webhook]:
        """Insert a webhook under a fresh id, and keep how its requests look."""
        ...

    def update_webhook(
        self,
        row: int,
        *,
        outbox: Sequence[OutboxMail] = (),
        template: Callable[[Webhook], str] | None = None,
        kept: bool = False,
        **changes: Any,
    ) -> asyncio.Future[Webhook]:
        """Change fields; with them mails go into the outbox and a new picture is kept.

        One that is `kept` waits until the disk takes it.
        """
        ...

    def delete_webhook(self, row: int) -> asyncio.Future[None]:
        """Mark it as deleted."""
        ...

    def hold_chunk(self, webhook_row: int, limit: int) -> asyncio.Future[int]:
        """Some of what is scheduled becomes held; how many, 0 when nothing is left."""
        ...

    def cancel_chunk(self, webhook_row: int, limit: int) -> asyncio.Future[int]:
        """Some of what is scheduled or held becomes cancelled; how many, 0: nothing is left."""
        ...

    async def start_retry(
        self,
        webhook_row: int,
        since_ms: int,
        states: Collection[DeliveryState],
        until_ms: int | None = None,
    ) -> BulkJob:
        """Note that a window is to be sent again."""
        ...

    async def count_retry(self, job: BulkJob) -> int:
        """How many deliveries that will be."""
        ...

    def retry_chunk(
        self, job: BulkJob, *, busy_rows: Collection[int] = (), limit: int = 500
    ) -> asyncio.Future[RetryChunk]:
        """Make some of them due now."""
        ...

    def retry_one(self, delivery_row: int) -> asyncio.Future[DueDelivery]:
        """Make one delivery due now."""
        ...


class Dispatch(Protocol):
    """The dispatcher's part."""

    def webhook_changed(self, row: int) -> None:
        """Look at the webhook again."""
        ...

    def offer(self, deliveries: Sequence[DueDelivery]) -> None:
        """Rows became scheduled."""
        ...

    async def bulk_room(self, webhook_row: int) -> None:
        """Return when more bulk work may be made due."""
        ...

    def busy_rows(self, webhook_row: int) -> frozenset[int]:
        """Deliveries in flight or being settled."""
        ...


class Transport(Protocol):
    """The transport's part."""

    async def send(self, webhook: Webhook, event: StoredEvent, format: Format) -> AttemptResult:
        """Make one attempt."""
        ...

    def template(self, webhook: Webhook) -> str:
        """Say how its requests look."""
        ...


class Mails(Protocol):
    """What is written to people."""

    def warning(self, webhook: Webhook, health: Health, last: AttemptResult) -> OutboxMail:
        """A webhook has been failing for half of the time that disables it."""
        ...

    def disabled(self, webhook: Webhook, health: Health, last: AttemptResult) -> OutboxMail:
        """A webhook was disabled."""
        ...

    def written(self) -> None:
        """A mail is in the outbox, on disk."""
        ...
