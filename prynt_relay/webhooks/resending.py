"""Sending again, and sending a sample: what people ask for beside the schedule."""

from collections.abc import Collection

import structlog

from prynt_relay.errors import ConflictError, NotFoundError
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.webhooks.conversions import Conversions
from prynt_relay.webhooks.doors import Dispatch, WebhookStore
from prynt_relay.webhooks.registry import Registry

_log = structlog.stdlib.get_logger(__name__)


class Resending:
    """Manual retries (contract, section 4)."""

    def __init__(
        self,
        *,
        registry: Registry,
        store: WebhookStore,
        dispatch: Dispatch,
        conversions: Conversions,
    ) -> None:
        self._registry = registry
        self._store = store
        self._dispatch = dispatch
        self._conversions = conversions

    async def window(
        self,
        webhook_id: str,
        since_ms: int,
        until_ms: int | None,
        states: Collection[DeliveryState],
    ) -> int:
        """Send a window of a webhook's deliveries again; returns how many.

        The window is noted on disk when this returns and then worked off in chunks beside live
        traffic. Raises NotFoundError, and ConflictError while the webhook is disabled.
        """
        webhook = self._registry.by_id(webhook_id)
        if webhook is None:
            raise NotFoundError(
                f"there is no webhook {webhook_id[:64]!r}; it may have been deleted"
            )
        self._must_be_enabled(webhook)
        # A window noted before is worked off first: what it made due must not be counted again.
        await self._conversions.finished(webhook.row)
        job = await self._store.start_retry(webhook.row, since_ms, states, until_ms)
        count = await self._store.count_retry(job)
        self._conversions.retry(job)
        _log.info(
            "window to be sent again", action="retry_window", webhook_id=webhook.id, count=count
        )
        return count

    async def one(self, delivery_row: int, webhook_row: int) -> None:
        """Make one delivery's next attempt now, unless it is being made already.

        Raises NotFoundError, and ConflictError where its webhook is disabled or deleted.
        """
        webhook = self._registry.by_row(webhook_row)
        if webhook is None:
            raise ConflictError("the delivery's webhook is deleted")
        self._must_be_enabled(webhook)
        if delivery_row in self._dispatch.busy_rows(webhook_row):
            return
        delivery = await self._store.retry_one(delivery_row)
        self._dispatch.offer([delivery])

    @staticmethod
    def _must_be_enabled(webhook: Webhook) -> None:
        if not webhook.enabled:
            raise ConflictError(
                f"webhook {webhook.id} is disabled; enable it first, then retry what was held"
            )
