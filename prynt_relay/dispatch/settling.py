"""From an attempt that ended to its place on disk."""

import asyncio
from collections.abc import Callable

import structlog

from prynt_relay.dispatch.doors import DeliveryStore
from prynt_relay.model.delivery import DueDelivery, Settlement

_log = structlog.get_logger(__name__)

Batch = list[tuple[Settlement, DueDelivery]]


class Settling:
    """Hands results to the store, those of one turn of the loop in one call.

    `waiting` counts the results that aren't on disk yet. The dispatcher starts nothing new while
    too many wait (the disk is slow or full): bounded memory, and no attempt whose result could
    not be recorded.
    """

    def __init__(self, store: DeliveryStore, *, on_disk: Callable[[Batch], None]) -> None:
        self._store = store
        self._on_disk = on_disk
        self._finished: Batch = []
        self._idle = asyncio.Event()
        self._idle.set()
        self.waiting = 0

    def add(self, settlement: Settlement, delivery: DueDelivery) -> None:
        """Queue a result; `on_disk` is called with it once it is there."""
        self.waiting += 1
        self._idle.clear()
        self._finished.append((settlement, delivery))
        if len(self._finished) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Hand over what is queued."""
        if not self._finished:
            return
        batch, self._finished = self._finished, []
        future = self._store.settle([settlement for settlement, _ in batch])
        future.add_done_callback(lambda done: self._settled(batch, done))

    async def idle(self) -> None:
        """Return when every result is on disk."""
        self.flush()
        await self._idle.wait()

    def _settled(self, batch: Batch, done: "asyncio.Future[None]") -> None:
        self.waiting -= len(batch)
        if not self.waiting:
            self._idle.set()
        if done.cancelled() or done.exception() is not None:
            # The store keeps results until they are written; it only gives up when the daemon
            # leaves. The deliveries are still scheduled and will be sent again.
            _log.error("results not recorded", action="settle_failed", count=len(batch))
            return
        self._on_disk(batch)
