"""One message a second for a Slack webhook, with everything in it that became due meanwhile."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from prynt_relay.dispatch.folding import FOLD_MAX, READ_AT_ONCE, TOLD, Folding
from prynt_relay.dispatch.lane import PAGE_ROWS
from prynt_relay.dispatch.pace import REST_S
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import DeliveryState, Format, Outcome, Trigger
from prynt_relay.model.webhook import Webhook
from prynt_relay.schedule.disable import Verdict
from prynt_relay.transport.formats import slack
from tests.clock import FakeClock, turns
from tests.unit.dispatching import (
    Answer,
    MemoryStore,
    Sender,
    Webhooks,
    always,
    dispatcher,
    targets,
)

SLACK = Format.SLACK


class Scene:
    """A dispatcher with webhook 1 in Slack's format, the others in the usual one."""

    def __init__(self, answer: Answer | None = None, *, hooks: int = 1, **options: int) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.webhooks = Webhooks(hooks)
        self.webhooks.all[1] = replace(self.webhooks.all[1], format=SLACK)
        self.sender = Sender(self.clock, answer or (lambda *_: always(Outcome.SUCCESS)))
        self.options = options
        self.start()

    def start(self) -> None:
        self.relay = dispatcher(self.clock, self.store, self.sender, self.webhooks, **self.options)

    async def rested(self) -> None:
        """Let pass what a webhook rests for after a start."""
        await self.clock.advance(REST_S)

    async def alerts(self, count: int) -> None:
        for _ in range(count):
            self.relay.appended([await self.store.append(targets(1, format=SLACK))])

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for _, rows in self.sender.messages]

    @property
    def carried(self) -> list[int]:
        return [row for _, rows in self.sender.messages for row in rows]

    def gaps_s(self) -> list[float]:
        times = [at for at, _ in self.sender.messages]
        return [(b - a) / 1000 for a, b in itertools.pairwise(times)]

    async def close(self) -> None:
        await self.relay.stop(0)
        await self.store.close()


async def test_five_hundred_alerts_in_a_second_become_three_messages() -> None:
    """The first at once, the others folded: none lost or twice, in order, a second apart."""
    scene = Scene()
    await scene.rested()
    for _ in range(100):
        await scene.alerts(5)
        await scene.clock.advance(0.01)
    await scene.clock.advance(3)
    assert scene.sizes == [1, FOLD_MAX, 500 - FOLD_MAX - 1]
    assert scene.carried == sorted(scene.carried)
    assert len(set(scene.carried)) == 500
    assert min(scene.gaps_s()) >= 1
    assert [s.state for s in scene.store.settlements] == [DeliveryState.DELIVERED] * 500
    await scene.close()


async def test_each_delivery_names_the_message_that_carried_it() -> None:
    """All attempts of a message share what is known of it; a lone event's has none."""
    scene = Scene()
    await scene.rested()
    await scene.alerts(4)
    await scene.clock.advance(2)
    lone, *folded = scene.store.settlements
    assert lone.message is None
    (message,) = {s.message for s in folded}
    assert message is not None
    assert (message.first_row, message.last_row, message.count) == (2, 4, 3)
    assert (message.event_id, message.event_type) == ("evt_0000000000002", "verdict.block")
    assert message.body == b"2 3 4"
    assert [(s.delivery_row, s.number, s.trigger) for s in folded] == [
        (row, 1, Trigger.SCHEDULE) for row in (2, 3, 4)
    ]
    assert len({id(s.result) for s in folded}) == 1
    await scene.close()


async def test_a_failed_message_puts_each_delivery_on_its_own_schedule() -> None:
    """All of them are tried again, together; for the 24-hour rule it was one failure."""
    scene = Scene(lambda *_: always(Outcome.HTTP_ERROR))
    await scene.rested()
    await scene.alerts(1)
    await scene.clock.advance(1)
    await scene.alerts(9)
    await scene.clock.advance(1)
    assert scene.sizes == [1, 9]
    assert scene.webhooks.all[1].health.failures == 2
    await scene.clock.advance(7200)
    assert scene.sizes == [1, 9] * 3
    assert scene.webhooks.all[1].health.failures == 6
    by_row = {s.delivery_row: s for s in scene.store.settlements}
    assert {(s.state, s.number, s.failures) for s in by_row.values()} == {
        (DeliveryState.FAILED, 3, 3)
    }
    assert len(by_row) == 10
    await scene.close()


async def test_the_message_that_completes_a_day_of_failures_disables_its_webhook_once() -> None:
    """And all that it carried is held."""
    scene = Scene(lambda *_: always(Outcome.HTTP_ERROR))
    await scene.rested()
    for _ in range(48):
        await scene.alerts(2)
        await scene.clock.advance(1800)
    await scene.alerts(20)
    await scene.clock.advance(3)
    assert scene.webhooks.verdicts == [Verdict.WARN, Verdict.DISABLE]
    assert not scene.webhooks.all[1].enabled
    held = [s for s in scene.store.settlements if s.state is DeliveryState.HELD]
    assert held
    await scene.close()


async def test_a_manual_retry_goes_along_with_the_next_message() -> None:
    """It keeps its trigger, and a failure leaves its schedule as it was."""
    outcomes = iter([Outcome.HTTP_ERROR, Outcome.HTTP_ERROR])
    scene = Scene(lambda *_: always(next(outcomes, Outcome.SUCCESS)))
    await scene.rested()
    await scene.alerts(1)
    await scene.clock.advance(100)
    (row,) = scene.store.rows.values()
    manual = replace(row, due_ms=scene.clock.schedule_ms(), manual=True, resume_ms=row.due_ms)
    scene.store.rows[row.row] = manual
    await scene.alerts(2)
    scene.relay.offer([replace(manual)])
    await scene.clock.advance(3)
    assert scene.store.settlements[1].delivery_row == 2  # came first: sent at once, alone
    assert scene.sizes == [1, 1, 2]
    triggers = {s.delivery_row: s.trigger for s in scene.store.settlements[2:]}
    assert triggers == {1: Trigger.MANUAL, 3: Trigger.SCHEDULE}
    await scene.close()


async def test_resting_takes_no_slot_and_delays_nobody_else() -> None:
    """With one slot in all another webhook is served while the Slack webhook rests."""
    scene = Scene(hooks=2, concurrency=1, per_webhook=1)
    await scene.rested()
    await scene.alerts(5)
    scene.relay.appended([await scene.store.append(targets(2))])
    await turns()
    assert scene.relay.in_flight == 0
    assert scene.sizes == [1]
    assert [hook for _, hook, _ in scene.sender.attempts] == [1, 2]
    await scene.close()


async def test_a_slow_message_is_alone_under_way_and_followed_by_a_rest() -> None:
    """The second counts from the answer, however long that took: so arrivals keep it too."""

    async def slow(*_: object) -> Outcome:
        await scene.clock.sleep(0.7)
        return Outcome.SUCCESS

    scene = Scene(slow)
    await scene.rested()
    await scene.alerts(3)
    await scene.clock.advance(0.5)
    await scene.alerts(3)
    await scene.clock.advance(5)
    assert scene.sizes == [1, 5]
    assert scene.gaps_s()[0] >= 1.7
    await scene.close()


async def test_after_a_restart_a_backlog_goes_out_a_fold_at_a_time() -> None:
    """It waits a second first, since the run before may have just sent a message."""
    scene = Scene()
    await scene.relay.stop(0)
    for _ in range(4 * FOLD_MAX):
        await scene.store.append(targets(1, format=SLACK))
    scene.start()
    await scene.clock.advance(0.9)
    assert scene.sizes == []
    await scene.clock.advance(6)
    assert scene.carried == sorted(set(scene.carried))
    assert len(scene.carried) == 4 * FOLD_MAX
    assert len(scene.sizes) <= 5
    assert min(scene.gaps_s()) >= 1
    assert PAGE_ROWS >= FOLD_MAX, "a page would not fill a message"
    await scene.close()


async def test_switching_off_and_on_does_not_shorten_the_rest() -> None:
    """A webhook that is disabled and enabled within the second still waits for its end."""
    scene = Scene()
    await scene.rested()
    await scene.alerts(1)
    await turns()
    for enabled in (False, True):
        scene.webhooks.all[1] = replace(scene.webhooks.all[1], enabled=enabled)
        scene.relay.webhook_changed(1)
        await turns()
    await scene.alerts(3)
    await scene.clock.advance(4)
    assert scene.sizes == [1, 3]
    assert min(scene.gaps_s()) >= 1
    await scene.close()


@pytest.mark.parametrize(("samples", "counts"), [({2, 3}, False), ({2}, True)])
async def test_a_message_of_samples_alone_has_no_part_in_the_24_hour_rule(
    samples: set[int], counts: bool
) -> None:
    """Test deliveries sent again in one message don't count; with an ordinary one it does."""

    async def answer(_: Webhook, event: StoredEvent) -> Outcome:
        return Outcome.SUCCESS if event.row == 1 else Outcome.HTTP_ERROR

    scene = Scene(answer)
    await scene.rested()
    for row in (1, 2, 3):
        append, appended = await scene.store.append(targets(1, format=SLACK))
        if row in samples and appended.stored is not None:
            appended = replace(appended, stored=replace(appended.stored, is_test=True))
        scene.relay.appended([(append, appended)])
    await scene.clock.advance(3)
    assert scene.sizes == [1, 2]
    assert (scene.webhooks.all[1].health.failing_since_ms is not None) is counts
    await scene.close()


async def test_deliveries_in_another_format_are_never_folded() -> None:
    """What waits from before the format was changed is sent as what it was."""
    scene = Scene()
    await scene.rested()
    mixed = [SLACK, SLACK, Format.PRYNT, Format.PRYNT, SLACK]
    for each in mixed:
        scene.relay.appended([await scene.store.append(targets(1, format=each))])
    await scene.clock.advance(5)
    assert [rows for _, rows in scene.sender.messages] == [[1], [2], [5]]
    assert sorted(event for _, _, event in scene.sender.attempts) == [1, 2, 3, 4, 5]
    await scene.close()


async def test_a_stop_cuts_a_message_off_without_a_trace() -> None:
    """All that it would have carried stays scheduled."""
    hang = asyncio.Event()

    async def answer(_: Webhook, event: StoredEvent) -> Outcome:
        if event.row > 1:
            await hang.wait()
        return Outcome.SUCCESS

    scene = Scene(answer)
    await scene.rested()
    await scene.alerts(6)
    await scene.clock.advance(2)
    assert scene.sizes == [1, 5]
    assert await scene.relay.stop(0) == 1
    assert len(scene.store.rows) == 5
    assert scene.relay.busy_rows(1) == frozenset()
    await scene.store.close()


async def test_a_deleted_webhook_rests_in_peace() -> None:
    """Its rest ends after it is gone, and its message's deliveries are left to be cancelled."""
    scene = Scene(hooks=2)
    await scene.rested()
    await scene.alerts(5)
    del scene.webhooks.all[1]
    scene.relay.webhook_changed(1)
    await scene.clock.advance(3)
    assert scene.sizes == [1]
    scene.relay.appended([await scene.store.append(targets(2))])
    await turns()
    assert len(scene.sender.attempts) == 2
    await scene.close()


async def test_a_test_message_keeps_the_second_too() -> None:
    """What is sent beside the schedule waits for the rest before it, and is rested after."""
    scene = Scene(hooks=2)
    await scene.rested()
    await scene.alerts(3)
    sent: list[int] = []

    async def beside(row: int) -> None:
        async with scene.relay.message_to(scene.webhooks.all[row]):
            sent.append(scene.clock.wall_ms())

    waiting = [asyncio.create_task(beside(1)) for _ in range(3)]
    await turns()
    assert sent == []
    waiting[1].cancel()
    await beside(2)
    assert len(sent) == 1
    await scene.clock.advance(5)
    times = sorted([*sent[1:], *(at for at, _ in scene.sender.messages)])
    assert scene.sizes == [1, 2]
    assert len(times) == 4
    assert min(b - a for a, b in itertools.pairwise(times)) >= 1000
    await asyncio.gather(*waiting, return_exceptions=True)
    await scene.close()


async def test_a_test_that_is_given_up_as_its_turn_comes_leaves_it_to_the_next() -> None:
    """No rest without an end."""
    scene = Scene()
    await scene.rested()
    await scene.alerts(2)
    entered = asyncio.create_task(scene.relay.message_to(scene.webhooks.all[1]).__aenter__())
    await turns()
    scene.relay._pace._rested(scene.relay._backlog._turns[1])  # as its timer does
    entered.cancel()
    await scene.clock.advance(4)
    assert entered.cancelled()
    assert scene.sizes == [1, 1]
    await scene.close()


class Reads:
    """A store that notes what is read of it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reads: list[int] = []

    async def events(self, rows: list[int]) -> dict[int, StoredEvent]:
        self.reads.append(len(rows))
        return {row: self.event(row) for row in rows}

    def event(self, row: int) -> StoredEvent:
        return StoredEvent(
            row, f"evt_{row:013d}", "verdict.block", "v", "s", 0, 0, "k", b"x" * self.size
        )


class Folder:
    """Takes what would be folded."""

    def __init__(self) -> None:
        self.given: list[StoredEvent] = []

    def fold(self, events: list[StoredEvent]) -> bytes:
        self.given = list(events)
        return b"body"


async def test_a_message_is_put_together_in_parts() -> None:
    """Events are read a few at a time, and only those that are told keep their data."""
    store, folder = Reads(1000), Folder()
    folding = Folding(store, folder)  # type: ignore[arg-type]
    deliveries = [DueDelivery(row, 1, row, 0, 0, format=SLACK) for row in range(1, 101)]
    deliveries[3].event = store.event(4)
    events, body = await folding.fold(deliveries)
    assert body == b"body"
    assert max(store.reads) <= READ_AT_ONCE
    assert sum(store.reads) == 99
    assert [event.row for event in events] == list(range(1, 101))
    assert {event.data for event in events} == {b"{}"}
    assert [len(event.data) for event in folder.given] == [1000] * TOLD + [2] * (100 - TOLD)
    assert slack._SHOWN <= TOLD


async def test_a_delivery_without_its_event_is_an_error_of_ours() -> None:
    """Nothing is told of an event that isn't there."""

    class Empty(Reads):
        async def events(self, rows: list[int]) -> dict[int, StoredEvent]:
            return {}

    folding = Folding(Empty(0), Folder())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="delivery 7 has no event 9"):
        await folding.fold([DueDelivery(7, 1, 9, 0, 0), DueDelivery(8, 1, 10, 0, 0)])


async def test_a_message_whose_webhook_went_while_it_was_read_is_none() -> None:
    """Cancelled deliveries may be purged before their events are read: nothing is sent, or ends."""
    scene = Scene()
    await scene.rested()
    await scene.alerts(1)
    await scene.alerts(9)
    await scene.relay.stop(0)
    reading, gone = asyncio.Event(), asyncio.Event()

    async def events(rows: Sequence[int]) -> dict[int, StoredEvent]:
        reading.set()
        await gone.wait()
        return {}

    scene.store.events = events  # type: ignore[method-assign]
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    scene.start()
    await scene.rested()
    await reading.wait()
    del scene.webhooks.all[1]
    scene.relay.webhook_changed(1)
    gone.set()
    await scene.clock.advance(5)
    assert errors == []
    assert scene.sizes == [1]
    assert scene.relay.in_flight == 0
    await scene.close()
