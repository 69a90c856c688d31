"""What an answer whose body doesn't end costs its webhook."""

from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from prynt_relay.dispatch.attempts import DRIP_HOLD_S
from prynt_relay.model.delivery import AttemptResult
from prynt_relay.model.states import Outcome
from tests.clock import FakeClock
from tests.unit.dispatching import MemoryStore, Sender, Webhooks, always, dispatcher, targets

BODY_S = 0.5


class Dripping(Sender):
    """Its bodies take half a second after the headers, and may be cut off then."""

    cut = True

    async def send(self, *args: Any, **kwargs: Any) -> AttemptResult:
        result = await super().send(*args, **kwargs)
        await self.clock.sleep(BODY_S)
        return replace(result, slot_s=result.slot_s + BODY_S, truncated=self.cut, cut_off=self.cut)


@pytest.mark.parametrize(
    ("cut", "apart_s"), [(True, BODY_S + DRIP_HOLD_S), (False, BODY_S)], ids=["cut", "whole"]
)
async def test_only_a_body_that_was_cut_off_holds_its_slot_for_longer(
    cut: bool, apart_s: float
) -> None:
    """A drip costs a connection each time and is repeated seldom; a late, whole body isn't one."""
    clock = FakeClock()
    store = MemoryStore(clock)
    sender = Dripping(clock, lambda *_: always(Outcome.SUCCESS))
    sender.cut = cut
    relay = dispatcher(clock, store, sender, Webhooks(1), concurrency=1, per_webhook=1)
    relay.appended([await store.append(targets(1)) for _ in range(4)])
    await clock.advance(10)
    begun = [at for at, _, _ in sender.attempts]
    assert [later - sooner for sooner, later in pairwise(begun)] == [round(apart_s * 1000)] * 3
    await relay.stop(0)
    await store.close()
