"""A burst becomes one message: which deliveries travel together, and what is needed of them."""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from prynt_relay.dispatch.doors import DeliveryStore, Sender
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import StoredEvent

FOLD_MAX: Final = 250
"""Deliveries that one message carries at most; the others go with the next, a second later."""

TOLD: Final = 16
"""Of so many events a message may tell what is in them; of the others it tells type and time."""

READ_AT_ONCE: Final = 32
"""Events read in one go: eight megabytes, should all be as large as can be."""

FOLDS_AT_ONCE: Final = 4
"""Messages being put together at a time; more of them wait, since each holds events."""


class MissingEventError(RuntimeError):
    """A delivery has no event (any more)."""


class Folding:
    """Puts messages together, in bounded memory."""

    def __init__(self, store: DeliveryStore, sender: Sender) -> None:
        self._store = store
        self._sender = sender
        self._turns = asyncio.Semaphore(FOLDS_AT_ONCE)

    async def fold(self, deliveries: Sequence[DueDelivery]) -> tuple[list[StoredEvent], bytes]:
        """The deliveries' events, without their data, and the message that stands for them.

        Raises MissingEventError: what was cancelled meanwhile may have been purged.
        """
        async with self._turns:
            events: list[StoredEvent] = []
            for start in range(0, len(deliveries), READ_AT_ONCE):
                part = deliveries[start : start + READ_AT_ONCE]
                told = max(TOLD - start, 0)
                found = await self._read(part)
                events += found[:told]
                events += [replace(event, data=b"{}") for event in found[told:]]
            body = self._sender.fold(events)
        return [replace(event, data=b"{}") for event in events], body

    async def _read(self, deliveries: Sequence[DueDelivery]) -> list[StoredEvent]:
        missing = list({each.event_row for each in deliveries if each.event is None})
        read = await self._store.events(missing) if missing else {}
        events = [each.event or read.get(each.event_row) for each in deliveries]
        for delivery, event in zip(deliveries, events, strict=True):
            if event is None:
                msg = f"scheduled delivery {delivery.row} has no event {delivery.event_row}"
                raise MissingEventError(msg)
            delivery.event = None
        return [event for event in events if event is not None]
