"""The daemon's parts, put together: started in order, stopped in the reverse order."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace

from prynt_relay.clock import Clock, SystemClock
from prynt_relay.config.settings import Config
from prynt_relay.daemon.api_part import ApiPart
from prynt_relay.daemon.housekeeping import Housekeeping
from prynt_relay.daemon.mails import HealthMails
from prynt_relay.daemon.reloading import log_warnings, reload
from prynt_relay.daemon.rooms import (
    AttemptCounts,
    LiveWebhooks,
    StoreObserver,
    StoreOutbox,
    excused,
)
from prynt_relay.daemon.supervisor import Supervisor
from prynt_relay.dispatch.dispatcher import Dispatcher
from prynt_relay.errors import InvalidFieldError, StorageUnavailableError
from prynt_relay.intake.acceptor import Acceptor
from prynt_relay.intake.protocol import EventParser
from prynt_relay.intake.server import IntakeServer
from prynt_relay.model.event import EVENT_TYPES
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.notify.sender import OutboxSender
from prynt_relay.schedule.disable import DisablePolicy
from prynt_relay.store import SecretBox, Store
from prynt_relay.store.lock import StateFolder
from prynt_relay.telemetry.metrics import Metrics
from prynt_relay.telemetry.server import MetricsServer
from prynt_relay.transport.resolver import Lookup
from prynt_relay.transport.sender import Sender
from prynt_relay.webhooks.changes import Changes
from prynt_relay.webhooks.endpoint import EndpointRules
from prynt_relay.webhooks.fields import FieldRules
from prynt_relay.webhooks.filters import Failures, Filters
from prynt_relay.webhooks.registry import Registry
from prynt_relay.webhooks.resending import Resending
from prynt_relay.webhooks.sampling import Sampling

_log = structlog.get_logger(__name__)

DATABASE_FILE: Final = "relay.db"
DRAIN_MARGIN_S: Final = 2.0
"""What a drain may take beyond the delivery time-out: reading bodies, answering publishers."""


class Relay:
    """One daemon. `start`, then `run` until `stop` is called or something failed, then `stop`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
        lookup: Lookup | None = None,
        intake_fd: int | None = None,
    ) -> None:
        """`lookup` replaces name resolution; `intake_fd` is a socket that systemd listens on."""
        self.config = config
        self.clock = clock or SystemClock()
        self.random_bytes = random_bytes
        self._lookup = lookup
        self._intake_fd = intake_fd
        self.supervisor = Supervisor()
        self.event_types = (*EVENT_TYPES, *config.extra_event_types)
        self.metrics = Metrics(self.event_types, per_webhook_limit=config.metrics.per_webhook_limit)
        self._folder: StateFolder | None = None
        self._stopping = False

    async def start(self) -> None:
        """Open everything and begin to work; raises a RelayError where that can't be."""
        config = self.config
        self._folder = StateFolder(config.state_dir)
        try:
            await self._open_store()
            await self._load_webhooks()
            self._wire()
            await self._begin()
        except BaseException:
            await self.stop()
            raise

    # --- opening

    async def _open_store(self) -> None:
        config = self.config
        observer = StoreObserver(self.metrics)
        self._observer = observer
        self.secret_box = SecretBox(config.encryption_keys, self.random_bytes)
        self.store = await Store.open(
            config.state_dir / DATABASE_FILE,
            clock=self.clock,
            api_version=config.api_version,
            event_source=config.event_source,
            dedup_window_s=config.intake.dedup_window_s,
            secret_box=self.secret_box,
            random_bytes=self.random_bytes,
            observer=observer,
        )
        self.clock.not_before(self.store.alive_schedule_ms)
        if not config.encryption_keys:
            _log.warning(
                "signing secrets are stored in clear; set encryption_keys",
                action="secrets_in_clear",
            )
        log_warnings(config)
        self.sender = Sender(
            config.egress,
            timeout_s=config.delivery.timeout_s,
            clock=self.clock,
            lookup=self._lookup,
        )

    async def _load_webhooks(self) -> None:
        webhooks = await self.store.webhooks()
        health = excused(webhooks, clock=self.clock, alive_ms=self.store.alive_schedule_ms)
        for row, value in health.items():
            self.store.update_webhook(row, health=value)
        await self.store.heartbeat(self.clock.schedule_ms())
        self.filters = Filters(
            api_version=self.config.api_version, clock=self.clock, on_failure=self._filter_failed
        )
        self.registry = Registry(matches=self.filters.matching)
        # The same picture as before is the same revision; another version makes a new one. All are
        # enqueued at once, so that ten thousand webhooks take a few commits and not one each.
        revisions = await asyncio.gather(*(self._pictured(webhook) for webhook in webhooks))
        for webhook, revision_row in zip(webhooks, revisions, strict=True):
            self.registry.put(
                replace(
                    webhook,
                    revision_row=revision_row,
                    health=health.get(webhook.row, webhook.health),
                )
            )

    def _pictured(self, webhook: Webhook) -> asyncio.Future[int]:
        """Keep how a webhook's requests look by now; returns its revision's row.

        One that this version's rules refuse keeps its picture: its attempts fail and say why, and
        the others are sent all the same.
        """
        try:
            template = self.sender.template(webhook)
        except InvalidFieldError as error:
            _log.error(
                "a stored webhook can't be sent to; change it",
                action="webhook_unfit",
                webhook_id=webhook.id,
                error=str(error),
            )
            revision: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            revision.set_result(webhook.revision_row)
            return revision
        return self.store.set_revision(webhook.row, template)

    def _wire(self) -> None:
        config = self.config
        delivery = config.delivery
        live = LiveWebhooks(self.registry)
        counts = AttemptCounts(self.metrics, self.registry, self.clock)
        self.dispatcher = Dispatcher(
            clock=self.clock,
            store=self.store,
            sender=self.sender,
            webhooks=live,
            concurrency=delivery.concurrency,
            concurrency_per_webhook=delivery.concurrency_per_webhook,
            retry_schedule_s=delivery.retry_schedule_s,
            disable_after_s=delivery.disable_after_s,
            on_attempt=(counts.ended,),
            on_settled=(counts.settled,),
        )
        self._observer.changed = self.dispatcher.storage_changed
        self.outbox = OutboxSender(
            StoreOutbox(self.store),
            self.clock,
            config.email,
            counter=self.metrics,
            ca_file=config.egress.ca_file,
        )
        self.changes = live.changes = Changes(
            registry=self.registry,
            store=self.store,
            dispatch=self.dispatcher,
            transport=self.sender,
            rules=FieldRules(
                endpoint=EndpointRules(
                    allow_http=config.egress.allow_http,
                    allow_addresses=config.egress.allow_addresses,
                ),
                event_types=self.event_types,
                check_filter=self.filters.check,
            ),
            mails=HealthMails(
                sender=lambda: self.config.email.sender,
                policy=lambda: DisablePolicy(self.config.delivery.disable_after_s),
                clock=self.clock,
                wake=self.outbox.wake,
            ),
            clock=self.clock,
            random_bytes=self.random_bytes,
            forget_filter=self.filters.forget,
            deleted=lambda webhook: self.metrics.webhook_gone(webhook.id),
            cancelled=lambda count: self.metrics.finished(DeliveryState.CANCELLED, count),
        )
        self.resending = Resending(
            registry=self.registry,
            store=self.store,
            dispatch=self.dispatcher,
            conversions=self.changes.conversions,
        )
        self.sampling = Sampling(
            registry=self.registry,
            store=self.store,
            transport=self.sender,
            event_types=self.event_types,
            message_to=self.dispatcher.message_to,
            attempted=counts.attempted,
        )
        self.acceptor = Acceptor(
            parser=EventParser(
                event_types=self.event_types,
                api_version=config.api_version,
                max_payload=config.intake.max_payload,
            ),
            registry=self.registry,
            store=self.store,
            dispatcher=self.dispatcher,
            metrics=self.metrics,
        )
        self.intake = IntakeServer(
            self.acceptor,
            path=config.intake.socket,
            mode=config.intake.socket_mode,
            inherited_fd=self._intake_fd,
        )
        self.metrics_server = MetricsServer(
            self.metrics, config.metrics.listen.host, config.metrics.listen.port
        )
        self.api = ApiPart(self)
        self.housekeeping = Housekeeping(self)

    async def _begin(self) -> None:
        # A crash may have left a large fan-out half written: its rest must be seen as due too.
        await self.store.fanouts_written()
        earliest_due, bulk_jobs = await self.store.earliest_due(), await self.store.bulk_jobs()
        webhooks: list[Webhook] = list(self.registry)
        # Where an address is taken the start fails: nothing must have been sent by then.
        self.dispatcher.start(webhooks, earliest_due, hold=True)
        self.housekeeping.start(self.supervisor)
        self.supervisor.start("outbox", self.outbox.run())
        self.api.supervise(self.supervisor)
        await self.metrics_server.start()
        await self.api.start()
        await self.intake.start()
        self.dispatcher.release()
        self.changes.conversions.resume(bulk_jobs)

    # --- life

    def unready(self) -> list[str]:
        """What keeps the daemon from being ready; nothing when publishers can rely on it."""
        reasons = []
        if self._stopping:
            reasons.append("shutting down")
        elif not self.intake.accepting:
            reasons.append("the intake socket doesn't accept")
        if not self.store.available or self.store.fatal.done():
            reasons.append("the database can't be written")
        return reasons

    def reload(self, config: Config) -> None:
        """Put what can be changed of a new configuration into force."""
        reload(self, config)

    async def failed(self) -> str:
        """Return why the daemon can't go on, once it can't."""
        failed = self.supervisor.failed

        def give_up(fatal: asyncio.Future[None]) -> None:
            if not fatal.cancelled():
                self.supervisor.fail(str(fatal.exception()))

        self.store.fatal.add_done_callback(give_up)
        return await asyncio.shield(failed)

    def abandon(self) -> None:
        """Leave everything as it is: the process ends.

        Nothing is lost by it: what is in flight is still scheduled in the database.
        """
        self.supervisor.abandon()
        if hasattr(self, "store"):
            self.store.abandon()

    async def stop(self, drain_s: float | None = None) -> None:
        """Take nothing new, finish what is in flight for up to `drain_s`, write it, close.

        The default is the delivery time-out. Works from any point that `start` had reached, and
        twice.
        """
        if self._stopping:
            return
        self._stopping = True
        if drain_s is None:
            drain_s = self.config.delivery.timeout_s + DRAIN_MARGIN_S
        await self._stop_taking_in(drain_s)
        if hasattr(self, "api"):
            await self.api.stop()
            await self.changes.finish()
        await self.supervisor.stop()
        if hasattr(self, "sender"):
            await self.sender.close()
        if hasattr(self, "store"):
            if self.store.available:
                # Refused, it costs little: the next run excuses some seconds more than it had to.
                with contextlib.suppress(StorageUnavailableError):
                    await self.store.heartbeat(self.clock.schedule_ms())
            await self.store.close()
        if hasattr(self, "metrics_server"):
            await self.metrics_server.stop()
        if self._folder is not None:
            self._folder.release()

    async def _stop_taking_in(self, drain_s: float) -> None:
        if not hasattr(self, "intake"):
            return
        self.intake.quiesce()
        cut_off, _ = await asyncio.gather(
            self.dispatcher.stop(drain_s), self.sampling.finish(drain_s)
        )
        if cut_off:
            _log.warning(
                "attempts were cut off; they are made again after the next start",
                action="attempts_cut_off",
                count=cut_off,
            )
        self.acceptor.close()
        await self.intake.stop(DRAIN_MARGIN_S)

    def _filter_failed(self, webhook: Webhook, failures: Failures) -> None:
        self.metrics.filter_failed()
        # The first, the tenth, the hundredth: an event rate isn't a log rate.
        if str(failures.count).strip("0") == "1":
            _log.warning(
                "a filter failed on an event, which is not sent to its webhook",
                action="filter_failed",
                webhook_id=webhook.id,
                failures=failures.count,
                error=failures.last_error,
            )
