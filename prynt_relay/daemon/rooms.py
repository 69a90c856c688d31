"""Adapters between rooms that don't know each other."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from prynt_relay.clock import Clock, wall_offset_ms
from prynt_relay.model.delivery import AttemptResult, Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.mail import DueMail
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Health, Webhook
from prynt_relay.schedule.disable import Verdict
from prynt_relay.store import Store
from prynt_relay.telemetry.attempts import attempt_finished
from prynt_relay.telemetry.metrics import FINISHED_STATES, Metrics
from prynt_relay.webhooks.registry import Registry

if TYPE_CHECKING:
    from prynt_relay.webhooks.changes import Changes


class LiveWebhooks:
    """The webhooks as the dispatcher sees them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.by_row = registry.by_row
        # Set once: changes need the dispatcher, which needs this.
        self.changes: Changes | None = None

    def set_health(self, row: int, health: Health) -> None:
        """Remember a webhook's health."""
        self._registry.set_health(row, health)

    def failing(self, webhook: Webhook, verdict: Verdict, result: AttemptResult) -> None:
        """Warn about a webhook or disable it."""
        if self.changes is not None:
            self.changes.failing(webhook, verdict, result)


class AttemptCounts:
    """What metrics and the log are told of attempts."""

    def __init__(self, metrics: Metrics, registry: Registry, clock: Clock) -> None:
        self._metrics = metrics
        self._registry = registry
        self._clock = clock

    def ended(self, settlement: Settlement, webhook: Webhook, event: StoredEvent) -> None:
        """An attempt ended."""
        result = settlement.result
        self.attempted(webhook, result)
        if settlement.number == 1:
            delay_ms = result.started_at_ms - event.received_at_ms
            self._metrics.first_attempt_delay(max(delay_ms, 0) / 1000)
        again = settlement.next_attempt_ms is not None
        offset_ms = wall_offset_ms(self._clock) if again else 0
        attempt_finished(settlement, webhook, event, offset_ms=offset_ms)

    def attempted(self, webhook: Webhook, result: AttemptResult) -> None:
        """An attempt ended, of the schedule or of a test."""
        self._metrics.attempt(webhook.id, result.outcome, result.duration_ms / 1000)
        if self._registry.by_row(webhook.row) is None:
            # Deleted while the attempt was made: its series mustn't come back.
            self._metrics.webhook_gone(webhook.id)

    def settled(self, batch: Sequence[Settlement]) -> None:
        """Attempts are on disk."""
        counts: dict[DeliveryState, int] = {}
        for settlement in batch:
            state = settlement.state
            counts[state] = counts.get(state, 0) + 1
        # What a deletion cancels is counted where it is done, in chunks: what was in flight then
        # comes by here once more.
        counts.pop(DeliveryState.CANCELLED, None)
        for state, count in counts.items():
            if state in FINISHED_STATES:
                self._metrics.finished(state, count)


class StoreObserver:
    """What the store tells the daemon, once there is someone to tell."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Set once: the store is opened before those who want to know exist.
        self.changed: Callable[[], None] = lambda: None

    def committed(self, duration_s: float, rows: int) -> None:
        """A transaction is on disk."""
        self._metrics.commit(duration_s, rows)

    def availability(self, available: bool) -> None:
        """Writes stopped working, or work again."""
        self.changed()


class StoreOutbox:
    """The store's outbox as the notify room asks for it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.next_mail_ms = store.next_mail_ms
        self.mail_sent = store.mail_sent
        self.mail_failed = store.mail_failed

    async def due_mails(self, _now_ms: int, limit: int) -> list[DueMail]:
        """Mails to send now."""
        return await self._store.due_mails(limit)


def excused(webhooks: Sequence[Webhook], *, clock: Clock, alive_ms: int) -> dict[int, Health]:
    """The health of failing webhooks with the time excused in which the relay did not run.

    `alive_ms` is when a run before this one was last known to run, on the schedule's clock.
    """
    down_ms = clock.schedule_ms() - alive_ms
    if alive_ms <= 0 or down_ms <= 0:
        return {}
    return {
        webhook.row: replace(webhook.health, excused_ms=webhook.health.excused_ms + down_ms)
        for webhook in webhooks
        if webhook.health.failing_from_ms is not None
    }
