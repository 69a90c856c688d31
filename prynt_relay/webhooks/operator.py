"""Everything that an operator can do to webhooks and their deliveries, behind one door."""

from typing import Final

from prynt_relay.errors import NotFoundError
from prynt_relay.model.states import DeliveryState
from prynt_relay.model.webhook import Webhook
from prynt_relay.model.webhook_input import WebhookInput
from prynt_relay.store import Store
from prynt_relay.webhooks.changes import Changes, Rotation
from prynt_relay.webhooks.resending import Resending
from prynt_relay.webhooks.sampling import Sampling

CONVERSION_S: Final = 0.5
"""How long disabling and deleting wait for what they mean for deliveries, so that whoever looks at
them next sees it. Of very many it goes on in the background."""


class Operator:
    """The API's way to changes, retries and tests; each returns once it is on disk."""

    def __init__(
        self, *, changes: Changes, resending: Resending, sampling: Sampling, store: Store
    ) -> None:
        self._changes = changes
        self._resending = resending
        self._sampling = sampling
        self._store = store

    async def create(self, new: WebhookInput) -> tuple[Webhook, str]:
        """Make a webhook; returns it with its signing secret."""
        return await self._changes.create(new)

    async def patch(self, webhook_id: str, changes: WebhookInput) -> Webhook:
        """Change what `changes` mentions."""
        changed = await self._changes.patch(webhook_id, changes)
        if not changed.enabled:
            await self._changes.conversions.wait(changed.row, CONVERSION_S)
        return changed

    async def delete(self, webhook_id: str) -> None:
        """Delete a webhook."""
        webhook = await self._changes.delete(webhook_id)
        await self._changes.conversions.wait(webhook.row, CONVERSION_S)

    async def rotate(self, webhook_id: str, activate_in_s: float) -> Rotation:
        """Make a new signing secret."""
        return await self._changes.rotate(webhook_id, activate_in_s)

    async def test(self, webhook_id: str, event_type: str | None) -> int:
        """Deliver a sample now; returns the settled delivery's row."""
        return await self._sampling.test(webhook_id, event_type)

    async def retry_window(
        self,
        webhook_id: str,
        since_ms: int,
        until_ms: int | None,
        states: frozenset[DeliveryState],
    ) -> int:
        """Send a window again; returns how many deliveries that is."""
        return await self._resending.window(webhook_id, since_ms, until_ms, states)

    async def retry_one(self, delivery_row: int) -> None:
        """Make one delivery's next attempt now."""
        webhook_row = await self._store.webhook_of(delivery_row)
        if webhook_row is None:
            raise NotFoundError("there is no such delivery; it may be older than the retention")
        await self._resending.one(delivery_row, webhook_row)
