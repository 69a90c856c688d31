"""The daemon's rooms as it wires them, but for sockets: simulated clock, disk and transport."""

from typing import TYPE_CHECKING, Any, cast

from prynt_relay.config.settings import Api, Config, Delivery, Intake, Listen, Metrics
from prynt_relay.daemon.relay import DATABASE_FILE, Relay
from prynt_relay.daemon.rooms import StoreObserver
from prynt_relay.errors import ShuttingDownError, StorageUnavailableError
from prynt_relay.intake.pump import Pump
from prynt_relay.model.delivery import Settlement
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.webhook import Webhook
from prynt_relay.store import SecretBox, Store
from prynt_relay.transport.sender import Sender
from tests.simulation.check_health import HealthRule
from tests.simulation.sim_disk import Disk, SimConnection
from tests.simulation.sim_journal import Journal
from tests.simulation.sim_plan import Plan
from tests.simulation.sim_receivers import Samples, SimSender
from tests.simulation.sim_world import SimClock

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_S = 900.0
"""Rarer than the daemon's: it only says how precisely the end of a run is known."""

PURGE_S = 1800.0
"""Rarer than the daemon's, which changes nothing but the time that a run takes."""


class SimRelay(Relay):
    """One run of the relay, from opening the database to its crash or stop."""

    def __init__(
        self,
        plan: Plan,
        disk: Disk,
        clock: SimClock,
        sender: SimSender,
        journal: Journal,
        rule: HealthRule,
    ) -> None:
        nowhere = Listen(host="127.0.0.1", port=0)
        super().__init__(
            Config(
                state_dir=disk.state_dir,
                intake=Intake(
                    socket=disk.state_dir / "events.sock", dedup_window_s=plan.dedup_window_s
                ),
                delivery=Delivery(
                    concurrency=plan.concurrency,
                    concurrency_per_webhook=plan.per_webhook,
                    retry_schedule_s=plan.retry_schedule_s,
                ),
                api=Api(listen=nowhere),
                metrics=Metrics(listen=nowhere),
            ),
            clock=clock,
            random_bytes=plan.random_bytes,
        )
        self._plan = plan
        self._disk = disk
        self._sim_sender = sender
        self._journal = journal
        self._rule = rule
        self.pump: Pump | None = None
        self.on_begin: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """As the daemon's, but for the lock and the sockets."""
        await self._open_store()
        await self._load_webhooks()
        self._wire()
        await self._begin()

    async def _open_store(self) -> None:
        self._observer = StoreObserver(self.metrics)
        self.secret_box = SecretBox((), self.random_bytes)
        clock = cast(SimClock, self.clock)
        self.store = await Store.open(
            self.config.state_dir / DATABASE_FILE,
            clock=clock,
            api_version=self.config.api_version,
            event_source=self.config.event_source,
            dedup_window_s=self.config.intake.dedup_window_s,
            secret_box=self.secret_box,
            random_bytes=self.random_bytes,
            observer=self._observer,
            opener=lambda connect: self._disk.open(connect, clock),
        )
        self._disk.watch_states(cast(SimConnection, self.store._opened.connection).raw)
        clock.not_before(self.store.alive_schedule_ms)
        self.sender = cast(Sender, self._sim_sender)

    async def _load_webhooks(self) -> None:
        stored = await self.store.webhooks()
        self._rule.stored(
            stored,
            alive_ms=self.store.alive_schedule_ms,
            at=self.clock.schedule_ms(),
        )
        await super()._load_webhooks()

    async def _begin(self) -> None:
        dispatcher = self.dispatcher
        made = dispatcher._attempts
        made.on_attempt = (self._attempted, *made.on_attempt)
        dispatcher.observe(self._settled)
        self.sampling._transport = cast(Sender, Samples(self._sim_sender))
        self.pump = Pump(self.acceptor)
        await self.store.fanouts_written()
        earliest, bulk_jobs = await self.store.earliest_due(), await self.store.bulk_jobs()
        self.on_begin()
        dispatcher.start(list(self.registry), earliest, hold=True)
        dispatcher.release()
        self.changes.conversions.resume(bulk_jobs)
        self.supervisor.start("heartbeat", self._beat())
        if self._plan.history_s is not None:
            self.supervisor.start("retention", self._purge(self._plan.history_s))

    def _attempted(self, settlement: Settlement, webhook: Webhook, event: StoredEvent) -> None:
        self._rule.attempted(settlement, webhook, event, self.registry)

    def _settled(self, batch: Any) -> None:
        for settlement in batch:
            self._rule.settled(settlement)

    async def _beat(self) -> None:
        while True:
            await self.clock.sleep(HEARTBEAT_S)
            try:
                await self.store.heartbeat(self.clock.schedule_ms())
            except (StorageUnavailableError, ShuttingDownError):
                return

    async def _purge(self, history_s: float) -> None:
        while True:
            await self.clock.sleep(PURGE_S)
            await self.store.purge(history_s, 1 << 40)
