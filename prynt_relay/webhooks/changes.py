"""Everything that changes webhooks: written first, then in force.

Each change goes to the store, and once it is on disk the registry and the dispatcher learn of it.
What follows for a webhook's many deliveries (held, cancelled) is done in chunks by `Conversions`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
import structlog
from msgspec.structs import replace

from prynt_relay.clock import Clock
from prynt_relay.errors import (
    ConflictError,
    NotFoundError,
    ShuttingDownError,
    StorageUnavailableError,
)
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.ids import new_signing_secret
from prynt_relay.model.states import DisabledReason
from prynt_relay.model.webhook import Health, NewWebhook, Secrets, Webhook
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.schedule.disable import Verdict
from prynt_relay.webhooks.conversions import STORAGE_WAIT_S, Conversions
from prynt_relay.webhooks.doors import Dispatch, Mails, Transport, WebhookStore
from prynt_relay.webhooks.fields import FieldRules
from prynt_relay.webhooks.registry import WEBHOOKS_MAX, Registry

_log = structlog.stdlib.get_logger(__name__)

_TEMPLATE_FIELDS: Final = frozenset({"url", "auth", "headers", "format", "signatures"})
"""What shows in a request: a change of these makes a new revision for the delivery log."""


class Rotation(msgspec.Struct, frozen=True):
    """A new signing secret; it signs from `active_from_ms` (wall) on."""

    secret: str
    active_from_ms: int

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"Rotation(***, active_from_ms={self.active_from_ms})"


class Changes:
    """Creates, changes, rotates, disables and deletes webhooks."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: WebhookStore,
        dispatch: Dispatch,
        transport: Transport,
        rules: FieldRules,
        mails: Mails,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        forget_filter: Callable[[int], None] = lambda row: None,
        deleted: Callable[[Webhook], None] = lambda webhook: None,
        cancelled: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`forget_filter` is told of webhooks whose filter is another, or gone with them.

        `deleted` is told of webhooks that are gone, `cancelled` how many deliveries that cancelled.
        """
        self._registry = registry
        self._store = store
        self._dispatch = dispatch
        self._transport = transport
        self._rules = rules
        self._mails = mails
        self._clock = clock
        self._random_bytes = random_bytes
        self._forget_filter = forget_filter
        self._deleted = deleted
        self.conversions = Conversions(store, dispatch, clock, cancelled=cancelled)
        # One change of a webhook at a time, so that each is judged by what the last one left.
        self._locks: dict[int, asyncio.Lock] = {}
        # What `failing` writes, by webhook: each is warned about and disabled once at a time.
        self._tasks: dict[asyncio.Task[None], int] = {}

    # --- what people ask for

    async def create(self, new: WebhookInput) -> tuple[Webhook, str]:
        """Make a webhook; returns it with its signing secret.

        Raises InvalidFieldError, StorageUnavailableError.
        """
        fields = self._rules.creation(new)
        if len(self._registry) >= WEBHOOKS_MAX:
            raise ConflictError(f"there are {WEBHOOKS_MAX} webhooks already; delete some first")
        secret = new_signing_secret(self._random_bytes)
        now_ms = self._clock.wall_ms()
        if not fields["enabled"]:
            fields |= {"disabled_reason": DisabledReason.MANUAL, "disabled_at_ms": now_ms}
        webhook = await self._store.add_webhook(
            NewWebhook(secrets=Secrets(secret), **fields), template=self._transport.template
        )
        self._in_force(webhook)
        _log.info("webhook created", action="webhook_created", webhook_id=webhook.id)
        return webhook, secret

    async def patch(self, webhook_id: str, changes: WebhookInput) -> Webhook:
        """Change what is mentioned; returns the webhook as it is then.

        Disabling holds what is scheduled; enabling starts the 24-hour rule afresh and waits for
        a holding that is still under way. Raises NotFoundError, InvalidFieldError,
        StorageUnavailableError.
        """
        async with self._locked(webhook_id) as webhook:
            fields = self._rules.change(webhook, changes)
            enabled = fields.get("enabled")
            if enabled is False:
                fields |= {
                    "disabled_reason": DisabledReason.MANUAL,
                    "disabled_at_ms": self._clock.wall_ms(),
                }
            elif enabled is True:
                await self._written(webhook.row)
                await self.conversions.finished(webhook.row)
                fields |= {"disabled_reason": None, "disabled_at_ms": None}
            if not fields:
                return webhook
            if enabled is True:
                changed = await self._write_enabled(webhook, fields)
            else:
                changed = await self._update(webhook, fields)
            if changed.filter != webhook.filter:
                self._forget_filter(webhook.row)
            if enabled is False:
                self.conversions.hold(webhook.row)
            _log.info(
                "webhook changed",
                action="webhook_changed",
                webhook_id=webhook.id,
                fields=sorted(fields),
            )
            return changed

    async def delete(self, webhook_id: str) -> Webhook:
        """Delete it; what is scheduled or held becomes cancelled. Returns it as it was.

        Raises NotFoundError.
        """
        async with self._locked(webhook_id) as webhook:
            await self._store.delete_webhook(webhook.row)
            self._registry.remove(webhook.row)
            self._forget_filter(webhook.row)
            self._dispatch.webhook_changed(webhook.row)
            self._deleted(webhook)
            self.conversions.cancel(webhook.row)
            _log.info("webhook deleted", action="webhook_deleted", webhook_id=webhook.id)
        self._locks.pop(webhook.row, None)
        return webhook

    async def rotate(self, webhook_id: str, activate_in_s: float) -> Rotation:
        """Make a new secret that takes over after `activate_in_s`; it replaces a pending one."""
        async with self._locked(webhook_id) as webhook:
            secret = new_signing_secret(self._random_bytes)
            now_ms = self._clock.wall_ms()
            at_ms = now_ms + round(activate_in_s * 1000)
            current, _ = webhook.secrets.active(now_ms)
            secrets = Secrets(secret) if activate_in_s <= 0 else Secrets(current, secret, at_ms)
            await self._update(webhook, {"secrets": secrets})
            _log.info("signing secret rotated", action="secret_rotated", webhook_id=webhook.id)
            return Rotation(secret, at_ms)

    # --- what follows from failures

    def failing(self, webhook: Webhook, verdict: Verdict, result: AttemptResult) -> None:
        """Warn about a webhook, or disable it: in force at once, on disk and mailed soon.

        Both are enqueued before the attempt that led to them is, and wait with it while the disk
        takes nothing: no crash can leave the attempt recorded and its consequence unwritten.
        """
        health = webhook.health
        if verdict is Verdict.WARN:
            mail = self._mails.warning(webhook, health, result)
            _log.warning(
                "webhook keeps failing",
                action="webhook_failing",
                webhook_id=webhook.id,
                host=webhook.host,
                failures=health.failures,
            )
            self._write(webhook.row, then=None, outbox=(mail,))
            return
        now_ms = self._clock.wall_ms()
        fields: dict[str, Any] = {
            "enabled": False,
            "disabled_reason": DisabledReason.FAILING,
            "disabled_at_ms": now_ms,
            "updated_at_ms": now_ms,
        }
        disabled = replace(webhook, **fields)
        mail = self._mails.disabled(disabled, health, result)
        _log.error(
            "webhook disabled",
            action="webhook_disabled",
            webhook_id=webhook.id,
            host=webhook.host,
            failures=health.failures,
        )
        self._in_force(disabled)
        self._write(disabled.row, then=self.conversions.hold, outbox=(mail,), **fields)

    async def finish(self) -> None:
        """Wait for what `failing` began, if the disk takes it; conversions stop between chunks.

        Else it goes with the attempts that led to it: after the restart the next failure comes
        to the same verdict.
        """
        await self.conversions.stop()
        while self._tasks and self._store.available:
            await asyncio.wait(self._tasks, timeout=STORAGE_WAIT_S)

    # --- parts

    def _write(self, row: int, *, then: Callable[[int], None] | None, **changes: Any) -> None:
        """Enqueue a change at once, and go on from it once it is on disk."""
        written = self._store.update_webhook(row, kept=True, **changes)
        task = asyncio.get_running_loop().create_task(self._persist(written, row, then))
        self._tasks[task] = row
        task.add_done_callback(self._tasks.pop)

    async def _written(self, row: int) -> None:
        """Return when what `failing` began for a webhook is on disk, and its conversion begun.

        Enabling a webhook that was disabled just now would else be overtaken by the conversion.
        """
        while tasks := [task for task, its in self._tasks.items() if its == row]:
            await asyncio.wait(tasks)

    async def _persist(
        self,
        written: "asyncio.Future[Webhook]",
        row: int,
        then: Callable[[int], None] | None,
    ) -> None:
        try:
            await written
        except (NotFoundError, ShuttingDownError, StorageUnavailableError):
            # Deleted meanwhile; or leaving, or the database failed for good, and then the next
            # failure after the restart comes to the same verdict.
            return
        self._mails.written()
        if then is not None:
            then(row)

    async def _update(self, webhook: Webhook, fields: dict[str, Any]) -> Webhook:
        """Write fields and put them in force; returns the webhook as it is then."""
        template = self._transport.template if fields.keys() & _TEMPLATE_FIELDS else None
        changed = await self._store.update_webhook(webhook.row, template=template, **fields)
        # What attempts did to it meanwhile is on its way to the disk, behind this change.
        current = self._registry.by_row(webhook.row) or webhook
        changed = replace(changed, health=current.health)
        if not current.enabled and fields.get("enabled") is not True:
            changed = replace(
                changed,
                enabled=False,
                disabled_reason=current.disabled_reason,
                disabled_at_ms=current.disabled_at_ms,
            )
        self._in_force(changed)
        return changed

    async def _write_enabled(self, webhook: Webhook, fields: dict[str, Any]) -> Webhook:
        """Enable it. What is in flight and fails from here on counts afresh, also on disk."""
        fresh = Health(proven=webhook.health.proven)
        self._registry.set_health(webhook.row, fresh)
        try:
            return await self._update(webhook, {**fields, "health": fresh})
        except StorageUnavailableError:
            self._registry.set_health(webhook.row, webhook.health)
            raise

    def _in_force(self, webhook: Webhook) -> None:
        self._registry.put(webhook)
        self._dispatch.webhook_changed(webhook.row)

    @contextlib.asynccontextmanager
    async def _locked(self, webhook_id: str) -> AsyncIterator[Webhook]:
        webhook = self._registry.by_id(webhook_id)
        if webhook is None:
            raise _no_such(webhook_id)
        lock = self._locks.setdefault(webhook.row, asyncio.Lock())
        async with lock:
            current = self._registry.by_row(webhook.row)
            if current is None:
                raise _no_such(webhook_id)
            yield current


def _no_such(webhook_id: str) -> NotFoundError:
    return NotFoundError(f"there is no webhook {webhook_id[:64]!r}; it may have been deleted")
