"""The dispatcher against a store, a sender and a clock that a test holds in its hands."""

import asyncio
import random
from collections.abc import Sequence
from unittest import mock

import pytest
from msgspec.structs import replace

from prynt_relay.dispatch import lane as lane_module
from prynt_relay.model.event import StoredEvent
from prynt_relay.model.states import DeliveryState, Outcome
from prynt_relay.model.webhook import Webhook
from prynt_relay.schedule.disable import Verdict
from tests.clock import FakeClock, turns
from tests.unit.dispatching import MemoryStore, Sender, Webhooks, always, dispatcher, targets


async def test_attempts_follow_the_schedule_to_the_second() -> None:
    """A delivery that always fails is tried at 0, 5 min after that and 30 min later, then fails."""
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(1)
    sender = Sender(clock, lambda *_: always(Outcome.HTTP_ERROR))
    relay = dispatcher(clock, store, sender, webhooks)
    start_ms = clock.wall_ms()
    relay.appended([await store.append(targets(1))])
    await clock.advance(7200)
    after = [(at - start_ms) / 1000 for at, _, _ in sender.attempts]
    assert [round(s) for s in after] == [0, 300, 2100]
    assert all(0 <= s - expected < 1 for s, expected in zip(after, (0, 300, 2100), strict=True))
    assert [s.state for s in store.settlements] == [
        DeliveryState.SCHEDULED,
        DeliveryState.SCHEDULED,
        DeliveryState.FAILED,
    ]
    assert [s.number for s in store.settlements] == [1, 2, 3]
    await relay.stop(0)
    await store.close()


@pytest.mark.parametrize("succeeds_at", [1, 2, 3])
async def test_a_success_at_any_stage_ends_the_schedule(succeeds_at: int) -> None:
    """The attempt that succeeds is the last one."""
    clock = FakeClock()
    store = MemoryStore(clock)
    tries = 0

    async def answer(*_: object) -> Outcome:
        nonlocal tries
        tries += 1
        return Outcome.SUCCESS if tries == succeeds_at else Outcome.TIMEOUT

    relay = dispatcher(clock, store, Sender(clock, answer), Webhooks(1))
    relay.appended([await store.append(targets(1))])
    await clock.advance(7200)
    assert len(store.settlements) == succeeds_at
    assert store.settlements[-1].state is DeliveryState.DELIVERED
    assert not store.rows
    await relay.stop(0)
    await store.close()


async def test_disabling_after_a_day_holds_the_delivery() -> None:
    """The failure that completes 24 h disables the webhook and holds what was scheduled."""
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(1)
    relay = dispatcher(clock, store, Sender(clock, lambda *_: always(Outcome.HTTP_ERROR)), webhooks)
    for _ in range(48):
        relay.appended([await store.append(targets(1))])
        await clock.advance(1800)
    assert webhooks.verdicts == [Verdict.WARN]
    relay.appended([await store.append(targets(1))])
    await clock.advance(1)
    assert webhooks.verdicts == [Verdict.WARN, Verdict.DISABLE]
    assert store.settlements[-1].state is DeliveryState.HELD
    await relay.stop(0)
    await store.close()


async def test_a_manual_attempt_leaves_the_schedule_as_it_was() -> None:
    """A failed manual attempt in the middle of a schedule neither uses up nor moves a retry."""
    clock = FakeClock()
    store = MemoryStore(clock)
    sender = Sender(clock, lambda *_: always(Outcome.HTTP_ERROR))
    relay = dispatcher(clock, store, sender, Webhooks(1))
    start_ms = clock.wall_ms()
    relay.appended([await store.append(targets(1))])
    await clock.advance(100)
    (row,) = store.rows.values()
    manual = replace(row, due_ms=clock.schedule_ms(), manual=True, resume_ms=row.due_ms)
    store.rows[row.row] = manual
    relay.offer([replace(manual)])
    await clock.advance(7200)
    assert [round((at - start_ms) / 1000) for at, _, _ in sender.attempts] == [0, 100, 300, 2100]
    assert [s.trigger.label for s in store.settlements] == [
        "schedule",
        "manual",
        "schedule",
        "schedule",
    ]
    await relay.stop(0)
    await store.close()


async def test_one_healthy_webhook_among_hundreds_that_hang() -> None:
    """With 300 webhooks hanging for 10 s each, every event of a healthy one goes out at once."""
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(301)

    async def answer(webhook: Webhook, _event: StoredEvent) -> Outcome:
        if webhook.row == 301:
            await clock.sleep(0.01)
            return Outcome.SUCCESS
        await clock.sleep(10)
        return Outcome.TIMEOUT

    sender = Sender(clock, answer)
    relay = dispatcher(clock, store, sender, webhooks)
    for _ in range(5):
        relay.appended([await store.append(targets(*range(1, 301)))])
    waits = []
    for _ in range(100):
        event_at = clock.wall_ms()
        append, appended = await store.append(targets(301))
        relay.appended([(append, appended)])
        await clock.advance(0.5)
        assert appended.stored is not None
        row = appended.stored.row
        waits.append(next(at for at, _, event in sender.attempts if event == row) - event_at)
    assert max(waits) == 0
    assert relay.in_flight <= 384
    await relay.stop(0)
    await store.close()


async def test_a_slow_webhooks_backlog_is_not_kept_in_memory() -> None:
    """What waits for one that hangs is left to the database, and sent once when it is well."""
    clock = FakeClock()
    store = MemoryStore(clock)
    well = False

    async def answer(*_: object) -> Outcome:
        if not well:
            await clock.sleep(10)
        return Outcome.SUCCESS if well else Outcome.TIMEOUT

    sender = Sender(clock, answer)
    relay = dispatcher(clock, store, sender, Webhooks(1), concurrency=64, per_webhook=16)
    for _ in range(2 * lane_module.SLOW_ROWS):
        relay.appended([await store.append(targets(1))])
    await turns()
    assert relay._backlog.rows > lane_module.SLOW_ROWS
    await clock.advance(11)
    await turns(20)
    assert relay._backlog.rows <= lane_module.SLOW_ROWS
    for _ in range(lane_module.SLOW_ROWS):
        relay.appended([await store.append(targets(1))])
    assert relay._backlog.rows <= lane_module.SLOW_ROWS
    well = True
    before = len(sender.attempts)
    await clock.advance(7200)
    assert store.rows == {}
    sent = [event for _, _, event in sender.attempts[before:]]
    assert len(sent) == len(set(sent))
    await relay.stop(0)
    await store.close()


async def test_what_was_cut_off_by_a_stop_does_not_count() -> None:
    """A stop waits for what is in flight, then cuts it off without recording an attempt."""
    clock = FakeClock()
    store = MemoryStore(clock)
    hang = asyncio.Event()

    async def answer(*_: object) -> Outcome:
        await hang.wait()
        return Outcome.SUCCESS

    relay = dispatcher(clock, store, Sender(clock, answer), Webhooks(2))
    relay.appended([await store.append(targets(1, 2))])
    await turns()
    assert relay.in_flight == 2
    assert await relay.stop(0) == 2
    assert store.settlements == []
    assert len(store.rows) == 2
    await store.close()


@pytest.mark.parametrize("seed", [3, 5, 9])
async def test_nothing_is_lost_or_sent_twice_whatever_memory_holds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With memory for a handful of rows and reads that overlap every change, all are sent once.

    Each event is attempted until it succeeds, never while an attempt of it is under way, never
    before it is due, and soon after.
    """
    monkeypatch.setattr(lane_module, "LANE_ROWS", 7)
    monkeypatch.setattr(lane_module, "SLOW_ROWS", 4)
    monkeypatch.setattr(lane_module, "LOW_WATER", 3)
    monkeypatch.setattr(lane_module, "PAGE_ROWS", 4)
    monkeypatch.setattr(lane_module, "OVERLAY_ROWS", 5)
    monkeypatch.setattr("prynt_relay.dispatch.pager.PAGE_ROWS", 4)
    rng = random.Random(seed)
    clock = FakeClock()
    store = MemoryStore(clock, rng)
    webhooks = Webhooks(3)

    async def answer(*_: object) -> Outcome:
        await clock.sleep(rng.random() * 3)
        return rng.choice([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.HTTP_ERROR])

    sender = Sender(clock, answer)
    relay = dispatcher(clock, store, sender, webhooks, concurrency=6, per_webhook=4)
    sent = 0
    for _ in range(60):
        for _ in range(rng.randrange(4)):
            rows = rng.sample([1, 2, 3], rng.randrange(1, 4))
            sent += len(rows)
            future = store.append(targets(*rows))
            future.add_done_callback(lambda done: relay.appended([done.result()]))
        if rng.random() < 0.2:
            row = rng.choice([1, 2, 3])
            webhooks.all[row] = replace(webhooks.all[row], enabled=False)
            relay.webhook_changed(row)
            await turns(rng.randrange(5))
            webhooks.all[row] = replace(webhooks.all[row], enabled=True)
            relay.webhook_changed(row)
        await clock.advance(rng.random() * 60)
    await clock.advance(4 * 3600)
    assert not store.rows, "scheduled deliveries were forgotten"
    delivered = [s for s in store.settlements if s.state is DeliveryState.DELIVERED]
    failed = [s for s in store.settlements if s.state is DeliveryState.FAILED]
    held = [s for s in store.settlements if s.state is DeliveryState.HELD]
    assert len(delivered) + len(failed) + len(held) == sent
    assert len({s.delivery_row for s in store.settlements}) == sent
    for settlement in failed:
        assert settlement.number == 3
    await relay.stop(0)
    await store.close()


async def test_what_was_in_flight_when_its_webhook_was_disabled_is_held() -> None:
    """It stays held, and isn't sent again, where the webhook is enabled before the attempt ends."""
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(1)

    async def hang(*_: object) -> Outcome:
        await clock.sleep(10)
        return Outcome.TIMEOUT

    sender = Sender(clock, hang)
    relay = dispatcher(clock, store, sender, webhooks)
    webhooks.all[1] = replace(webhooks.all[1], retry_schedule_s=(5.0,))
    relay.appended([await store.append(targets(1))])
    await clock.advance(1)
    for enabled in (False, True):
        webhooks.all[1] = replace(webhooks.all[1], enabled=enabled)
        relay.webhook_changed(1)
    await clock.advance(60)
    assert len(sender.attempts) == 1
    assert [s.state for s in store.settlements] == [DeliveryState.HELD]
    await relay.stop(0)
    await store.close()


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.HTTP_ERROR])
@pytest.mark.parametrize("reading", [False, True])
async def test_what_a_page_brought_before_it_was_handed_over_is_sent_once(
    outcome: Outcome, reading: bool
) -> None:
    """Deliveries on disk whose events are answered late (a large fan-out) may be found there.

    Be it that a page brought them, or that the next one is `reading` when they are handed over.
    """
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(1)
    sender = Sender(clock, lambda *_: always(outcome))
    relay = dispatcher(clock, store, sender, webhooks)
    append, appended = await store.append(targets(1))

    def read_page() -> None:
        for enabled in (False, True):
            webhooks.all[1] = replace(webhooks.all[1], enabled=enabled)
            relay.webhook_changed(1)

    read_page()
    await clock.advance(1)
    assert len(sender.attempts) == 1
    if reading:
        read_page()
        await turns(1)
    relay.appended([(append, replace(appended, late=True))])
    await clock.advance(100)
    assert len(sender.attempts) == 1
    await clock.advance(4 * 3600)
    assert len(sender.attempts) == (1 if outcome is Outcome.SUCCESS else 3)
    assert [s.number for s in store.settlements] == list(range(1, len(sender.attempts) + 1))
    assert not store.rows
    await relay.stop(0)
    await store.close()


@pytest.mark.parametrize("change", ["disabled", "deleted", "off and on"])
async def test_what_waits_for_its_event_when_its_webhook_changes_is_not_sent(change: str) -> None:
    """A request begins only while its webhook wants it; what was held meanwhile stays held."""
    clock = FakeClock()
    store = MemoryStore(clock)
    webhooks = Webhooks(1)
    sender = Sender(clock, lambda *_: always(Outcome.SUCCESS))
    await store.append(targets(1))
    read, reading = asyncio.Event(), asyncio.Event()

    async def events(rows: Sequence[int]) -> dict[int, StoredEvent]:
        reading.set()
        await read.wait()
        return {row: store.stored[row] for row in rows}

    with mock.patch.object(store, "events", events):
        relay = dispatcher(clock, store, sender, webhooks)
        await reading.wait()
        if change == "deleted":
            del webhooks.all[1]
            relay.webhook_changed(1)
        else:
            for enabled in (False, True) if change == "off and on" else (False,):
                webhooks.all[1] = replace(webhooks.all[1], enabled=enabled)
                relay.webhook_changed(1)
        store.rows.clear()  # as the conversion does
        read.set()
        await clock.advance(60)
    assert not sender.attempts
    assert relay.in_flight == 0
    assert not relay.busy_rows(1)
    await relay.stop(0)
    await store.close()
