"""What goes on beside deliveries: the heartbeat, retention, the watchdog."""

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from prynt_relay.daemon import sd_notify
from prynt_relay.daemon.supervisor import Supervisor
from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.model.states import DisabledReason
from prynt_relay.store import Backlog

if TYPE_CHECKING:
    from prynt_relay.daemon.relay import Relay

_log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 10.0
"""How precisely a run knows when the one before it ended, if that was a crash."""

RETENTION_S: Final = 60.0
"""How often history is looked at for what is too old or too much."""

TICK_AGE_S: Final = 5.0
"""The dispatcher looks at what is due every second; after this long it is stuck."""


class Housekeeping:
    """The daemon's own long-lived tasks."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._counting: asyncio.Task[Backlog] | None = None

    def start(self, supervisor: Supervisor) -> None:
        """Hand the tasks to the supervisor and the gauges to the metrics."""
        self._bind_gauges()
        supervisor.start("heartbeat", self._beat())
        supervisor.start("retention", self._purge())
        interval_s = sd_notify.watchdog_interval_s()
        if interval_s is not None:
            supervisor.start("watchdog", self._feed_watchdog(interval_s))

    # --- gauges

    def _bind_gauges(self) -> None:
        relay = self._relay
        gauge = relay.metrics.gauge
        gauge("scheduled", self._scheduled)
        gauge("held", self._held)
        gauge("in_flight", lambda: relay.dispatcher.in_flight)
        gauge("oldest_due_seconds", relay.dispatcher.oldest_due_s)
        gauge("database_bytes", lambda: relay.store.sizes().database_bytes)
        gauge("wal_bytes", lambda: relay.store.sizes().wal_bytes)
        gauge("webhooks_enabled", lambda: self._count(enabled=True))
        gauge("webhooks_disabled", lambda: self._count(enabled=False))
        gauge(
            "webhooks_failing_enabled",
            lambda: sum(w.enabled and w.health.failures > 0 for w in relay.registry),
        )
        gauge(
            "webhooks_failing_disabled",
            lambda: sum(w.disabled_reason is DisabledReason.FAILING for w in relay.registry),
        )

    async def _scheduled(self) -> float:
        return (await self._backlog()).scheduled

    async def _held(self) -> float:
        return (await self._backlog()).held

    async def _backlog(self) -> Backlog:
        """Count what waits, once for both gauges of a scrape and never from memory."""
        if self._counting is None:
            self._counting = asyncio.get_running_loop().create_task(self._relay.store.backlog())
            self._counting.add_done_callback(self._counted)
        return await asyncio.shield(self._counting)

    def _counted(self, _: asyncio.Task[Backlog]) -> None:
        self._counting = None

    def _count(self, *, enabled: bool) -> int:
        return sum(webhook.enabled is enabled for webhook in self._relay.registry)

    # --- tasks

    async def _beat(self) -> None:
        while True:
            await self._relay.clock.sleep(HEARTBEAT_S)
            await self._writer_answers()

    async def _purge(self) -> None:
        """Keep the history within its age and size, in small steps between live batches."""
        relay = self._relay
        while True:
            await relay.clock.sleep(RETENTION_S)
            retention = relay.config.retention
            try:
                purged = await relay.store.purge(
                    retention.history_s,
                    retention.max_size,
                    lambda step: relay.metrics.held_purged(step.held),
                )
            except (StorageUnavailableError, ShuttingDownError):
                # Said by the store; the next pass goes on.
                continue
            if purged.events:
                _log.info(
                    "old history purged",
                    action="history_purged",
                    events=purged.events,
                    deliveries=purged.deliveries,
                    held=purged.held,
                )

    async def _writer_answers(self) -> None:
        """Return once the writer has answered; that the disk takes nothing is an answer too."""
        relay = self._relay
        try:
            await relay.store.heartbeat(relay.clock.schedule_ms())
        except (StorageUnavailableError, ShuttingDownError):
            # Said by the store; the next run excuses a little more time than it had to.
            return

    async def _feed_watchdog(self, interval_s: float) -> None:
        """Feed it only while the writer answers and the dispatcher looks at what is due.

        If either is stuck, this is too, or stays silent: systemd kills and restarts the daemon.
        """
        while True:
            await self._writer_answers()
            age_s = self._relay.dispatcher.tick_age_s()
            if age_s < TICK_AGE_S:
                sd_notify.notify("WATCHDOG=1")
            else:
                _log.error("the dispatcher is stuck", action="dispatcher_stuck", age_s=age_s)
            await self._relay.clock.sleep(interval_s)
