"""Bulk conversions: their beginning and their end."""

import asyncio
from typing import cast

import pytest

from prynt_relay.errors import ShuttingDownError
from prynt_relay.webhooks.conversions import Conversions
from prynt_relay.webhooks.doors import Dispatch, WebhookStore
from tests.clock import FakeClock, turns


class CountingStore:
    """Counts chunks; each of the first two changes something."""

    def __init__(self) -> None:
        self.chunks = 0

    def hold_chunk(self, _row: int, limit: int) -> asyncio.Future[int]:
        self.chunks += 1
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(limit if self.chunks < 3 else 0)
        return future


def conversions(store: CountingStore) -> Conversions:
    return Conversions(cast(WebhookStore, store), cast(Dispatch, None), FakeClock())


async def test_a_conversion_goes_on_until_a_chunk_finds_nothing() -> None:
    """Chunks are asked for one after another, and the last one says that there is nothing left."""
    store = CountingStore()
    jobs = conversions(store)
    jobs.hold(1)
    await jobs.finished(1)
    assert store.chunks == 3


async def test_nothing_begins_after_the_stop() -> None:
    """A conversion that is asked for while the daemon leaves is left to the next start.

    Whoever waits for its end is told: enabling its webhook would let what is to be held be sent.
    """
    store = CountingStore()
    jobs = conversions(store)
    await jobs.stop()
    jobs.hold(1)
    await turns()
    with pytest.raises(ShuttingDownError):
        await jobs.finished(1)
    assert store.chunks == 0
