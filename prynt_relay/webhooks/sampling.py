"""Sending a sample now, to see whether an endpoint works."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import msgspec
import structlog

from prynt_relay.errors import InvalidFieldError, NotFoundError, ShuttingDownError
from prynt_relay.model.delivery import AttemptResult, Settlement
from prynt_relay.model.event import Append, Appended, NewEvent, Target
from prynt_relay.model.samples import sample_data
from prynt_relay.model.states import DeliveryState, Format, Outcome, Trigger
from prynt_relay.model.webhook import Webhook
from prynt_relay.webhooks.doors import Transport
from prynt_relay.webhooks.fields import IDENTIFICATION
from prynt_relay.webhooks.registry import Registry

_log = structlog.stdlib.get_logger(__name__)

SAMPLES_AT_ONCE: Final = 16
"""Samples under way; more wait their turn, so that they can't crowd out deliveries."""


class SampleStore(Protocol):
    """The store's part."""

    def append(self, batch: Sequence[Append]) -> asyncio.Future[list[Appended]]:
        """Store the sample with its one delivery."""
        ...

    def settle(self, batch: Sequence[Settlement]) -> asyncio.Future[None]:
        """Store the attempt."""
        ...


class Sampling:
    """Test deliveries (contract, section 6): one attempt, no retry, no part in the 24-hour rule."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: SampleStore,
        transport: Transport,
        event_types: Sequence[str],
        message_to: Callable[[Webhook], AbstractAsyncContextManager[None]],
        attempted: Callable[[Webhook, AttemptResult], None] = lambda webhook, result: None,
    ) -> None:
        """`message_to` is entered around each request: where messages are paced, it waits.

        `attempted` is told of every attempt when it ended.
        """
        self._registry = registry
        self._store = store
        self._transport = transport
        self._event_types = event_types
        self._message_to = message_to
        self._attempted = attempted
        self._slots = asyncio.Semaphore(SAMPLES_AT_ONCE)
        self._under_way: set[asyncio.Task[int]] = set()
        self._closed = False

    async def test(self, webhook_id: str, event_type: str | None) -> int:
        """Deliver a sample now, also to a disabled webhook; returns the settled delivery's row.

        None picks the first type that the webhook is subscribed to. Raises NotFoundError,
        InvalidFieldError, StorageUnavailableError.
        """
        webhook = self._registry.by_id(webhook_id)
        if webhook is None:
            raise NotFoundError(
                f"there is no webhook {webhook_id[:64]!r}; it may have been deleted"
            )
        chosen = self._event_type(webhook, event_type)
        if self._closed:
            raise ShuttingDownError("the relay is shutting down; test again later")
        task = asyncio.get_running_loop().create_task(self._deliver(webhook, chosen))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # A caller that goes away doesn't take the record of the attempt with it.
        return await asyncio.shield(task)

    async def finish(self, drain_s: float) -> None:
        """Take no more; let those under way finish for up to `drain_s`, then cut them off.

        A sample that was cut off leaves a failed delivery without an attempt.
        """
        self._closed = True
        if self._under_way:
            _, pending = await asyncio.wait(self._under_way, timeout=drain_s)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _event_type(self, webhook: Webhook, asked: str | None) -> str:
        if asked is None:
            first = webhook.events[0]
            return IDENTIFICATION if first == "*" else first
        if asked not in self._event_types:
            raise InvalidFieldError(
                "eventType",
                f"{asked[:100]!r} is not a known event type; known are "
                f"{', '.join(self._event_types)}",
            )
        if webhook.format is Format.FINGERPRINT and asked != IDENTIFICATION:
            raise InvalidFieldError(
                "eventType", f'must be "{IDENTIFICATION}" in the format "fingerprint"'
            )
        return asked

    async def _deliver(self, webhook: Webhook, event_type: str) -> int:
        async with self._slots:
            event = NewEvent(event_type, msgspec.json.encode(sample_data(event_type)))
            target = Target(webhook.row, DeliveryState.FAILED, webhook.format)
            (appended,) = await self._store.append([Append(event, (target,), is_test=True)])
            stored = appended.stored
            if stored is None:
                raise RuntimeError("a sample without keys of its own was taken for a duplicate")
            async with self._message_to(webhook):
                result = await self._transport.send(webhook, stored, webhook.format)
            self._attempted(webhook, result)
            success = result.outcome is Outcome.SUCCESS
            settlement = Settlement(
                delivery_row=appended.first_delivery_row,
                webhook_row=webhook.row,
                revision_row=webhook.revision_row,
                number=1,
                trigger=Trigger.TEST,
                result=result,
                state=DeliveryState.DELIVERED if success else DeliveryState.FAILED,
                failures=0 if success else 1,
            )
            await self._store.settle([settlement])
            _log.info(
                "sample sent",
                action="sample_sent",
                webhook_id=webhook.id,
                event_id=stored.event_id,
                outcome=result.outcome.label,
                status=result.status,
            )
            return appended.first_delivery_row
