"""Leaving while results wait for a disk that takes nothing."""

import asyncio
from collections.abc import Sequence

from prynt_relay.model.delivery import Settlement
from prynt_relay.model.states import Outcome
from tests.clock import FakeClock, turns
from tests.unit.dispatching import MemoryStore, Sender, Webhooks, always, dispatcher, targets


class FullStore(MemoryStore):
    """Takes events, and keeps results without ever writing them."""

    def settle(self, batch: Sequence[Settlement]) -> "asyncio.Future[None]":
        self.settlements += batch
        return asyncio.get_running_loop().create_future()


async def test_a_stop_does_not_wait_for_a_disk_that_fills_up_meanwhile() -> None:
    """Results that can't be recorded don't keep the daemon: those attempts are made again."""
    clock = FakeClock()
    store = FullStore(clock)
    sender = Sender(clock, lambda _webhook, _event: always(Outcome.SUCCESS))
    relay = dispatcher(clock, store, sender, Webhooks(1))
    relay.appended([await store.append(targets(1))])
    await turns()
    assert len(store.settlements) == 1
    stopping = asyncio.ensure_future(relay.stop(1.0))
    await turns()
    assert not stopping.done()
    store.available = False
    relay.storage_changed()
    async with asyncio.timeout(5):
        assert await stopping == 0
    await store.close()


async def test_one_that_is_told_to_stop_is_not_stuck() -> None:
    """While what is in flight ends, nothing that is due is looked at, and nobody need worry."""
    clock = FakeClock()
    store = MemoryStore(clock)

    async def slow(*_: object) -> Outcome:
        await clock.sleep(20)
        return Outcome.SUCCESS

    relay = dispatcher(clock, store, Sender(clock, slow), Webhooks(1))
    relay.appended([await store.append(targets(1))])
    await clock.advance(3)
    assert relay.tick_age_s() < 1.5
    stopping = asyncio.ensure_future(relay.stop(30))
    await clock.advance(15)
    assert not stopping.done()
    assert relay.tick_age_s() == 0
    await clock.advance(10)
    assert await stopping == 0
    await store.close()
