"""What the dispatcher asks of the rooms around it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from prynt_relay.model.delivery import AttemptResult, DueDelivery, Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import Format
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.schedule.disable import Verdict


class DeliveryStore(Protocol):
    """The store's part that deliveries need."""

    @property
    def available(self) -> bool:
        """False while writes don't reach the disk."""
        ...

    def settle(self, batch: Sequence[Settlement]) -> asyncio.Future[None]:
        """Write attempts and their consequences; resolves once they are on disk."""
        ...

    def due_page(
        self, webhook_row: int, after: tuple[float, float], limit: int
    ) -> Awaitable[list[DueDelivery]]:
        """Scheduled deliveries in `(due_ms, row)` order, strictly after the key."""
        ...

    def events(self, rows: Sequence[int]) -> Awaitable[dict[int, StoredEvent]]:
        """Events by row."""
        ...


class Sender(Protocol):
    """The transport's part."""

    async def send(
        self,
        webhook: Webhook,
        event: StoredEvent,
        format: Format,
        *,
        body: bytes | None = None,
    ) -> AttemptResult:
        """Make one attempt; raises only when it is cancelled.

        `body` goes out instead of the event's own, and the headers name the event.
        """
        ...

    def fold(self, events: Sequence[StoredEvent]) -> bytes:
        """The body that stands for several events at once, in their order."""
        ...


class WebhookSource(Protocol):
    """The live set of webhooks."""

    def by_row(self, row: int) -> Webhook | None:
        """The webhook as it is now, or None once it was deleted."""
        ...

    def set_health(self, row: int, health: Health) -> None:
        """Remember a webhook's health; the settlement that carries it makes it durable."""
        ...

    def failing(self, webhook: Webhook, verdict: Verdict, result: AttemptResult) -> None:
        """A webhook has failed for half of the time that disables it, or for all of it.

        After `DISABLE` the webhook is disabled when the call returns, and made so on disk soon.
        """
        ...


AttemptObserver = Callable[[Settlement, Webhook, StoredEvent], None]
"""Told about every attempt when it ended, with its webhook as it was sent to."""

SettledObserver = Callable[[Sequence[Settlement]], None]
"""Told about every batch of attempts once it is on disk."""
