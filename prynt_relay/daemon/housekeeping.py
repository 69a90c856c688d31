"""What goes on beside deliveries: the heartbeat, retention, statistics, the watchdog."""

from typing import TYPE_CHECKING, Final

import structlog

from prynt_relay.daemon.supervisor import Supervisor
from prynt_relay.errors import StorageUnavailableError

if TYPE_CHECKING:
    from prynt_relay.daemon.relay import Relay

_log = structlog.get_logger(__name__)

HEARTBEAT_S: Final = 10.0
"""How precisely a run knows when the one before it ended, if that was a crash."""


class Housekeeping:
    """The daemon's own long-lived tasks."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay

    def start(self, supervisor: Supervisor) -> None:
        """Hand the tasks to the supervisor and the gauges to the metrics."""
        self._bind_gauges()
        supervisor.start("heartbeat", self._beat())

    def _bind_gauges(self) -> None:
        relay = self._relay
        gauge = relay.metrics.gauge
        gauge("in_flight", lambda: relay.dispatcher.in_flight)
        gauge("oldest_due_seconds", relay.dispatcher.oldest_due_s)
        gauge("database_bytes", lambda: relay.store.sizes().database_bytes)
        gauge("wal_bytes", lambda: relay.store.sizes().wal_bytes)

    async def _beat(self) -> None:
        relay = self._relay
        while True:
            await relay.clock.sleep(HEARTBEAT_S)
            try:
                await relay.store.heartbeat(relay.clock.schedule_ms())
            except StorageUnavailableError:
                # Said by the store; the next run excuses a little more than it had to.
                continue
