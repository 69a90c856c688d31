import asyncio
from pathlib import Path

import pytest

from prynt_relay.model.delivery import Settlement
from prynt_relay.model.mail import OutboxMail
from prynt_relay.model.states import TRANSITIONS, DeliveryState, Outcome, Trigger
from prynt_relay.model.webhook import Health
from tests.clock import FakeClock
from tests.integration.store.parts import (
    CANCELLED,
    DELIVERED,
    FAILED,
    HELD,
    SCHEDULED,
    START,
    Heard,
    add_webhook,
    append,
    attempt,
    delivery_row,
    due,
    event_row,
    opened,
    raw,
    rows,
    settlement,
)

RETRY_MS = 300_000


async def test_a_success_is_recorded_with_its_attempt(tmp_path: Path) -> None:
    """A delivered delivery leaves the schedule and shows its one attempt with all that it saw."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (waiting,) = await due(store, webhook.row)
        result = attempt(
            Outcome.SUCCESS,
            response_headers=b"Server: x\r\nContent-Length: 2",
            response_body=b"ok",
            truncated=True,
        )
        await store.settle(
            [
                Settlement(
                    waiting.row, webhook.row, revision, 1, Trigger.SCHEDULE, result, DELIVERED, 0
                )
            ]
        )
        assert await due(store, webhook.row) == []
        assert await store.earliest_due() == {}
    assert rows(
        tmp_path,
        """SELECT state, next_attempt_ms, attempts, failures, last_attempt, last_outcome,
                  last_status FROM deliveries""",
    ) == [(DELIVERED, None, 1, 0, 1, Outcome.SUCCESS, 200)]
    assert rows(tmp_path, "SELECT * FROM attempts") == [
        (1, waiting.row, webhook.row, None, revision, 1, Trigger.SCHEDULE, result.started_at_ms, 17,
         Outcome.SUCCESS, 200, None, b"\x01\x02", b"Server: x\r\nContent-Length: 2", b"ok", 1,
         None)
    ]  # fmt: skip


async def test_attempts_are_linked_from_the_newest_back(tmp_path: Path) -> None:
    """Each attempt names the one before it, across transactions."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row), append(webhook.row)])
        for state in (SCHEDULED, SCHEDULED, FAILED):
            at_ms = clock.schedule_ms() + RETRY_MS if state is SCHEDULED else None
            await store.settle(
                [
                    settlement(delivery, revision, state, next_attempt_ms=at_ms)
                    for delivery in await due(store, webhook.row)
                ]
            )
    assert rows(tmp_path, "SELECT id, delivery, number, previous FROM attempts") == [
        (1, delivery_row(1), 1, None),
        (2, delivery_row(2), 1, None),
        (3, delivery_row(1), 2, 1),
        (4, delivery_row(2), 2, 2),
        (5, delivery_row(1), 3, 3),
        (6, delivery_row(2), 3, 4),
    ]
    assert rows(tmp_path, "SELECT last_attempt, attempts, failures, state FROM deliveries") == [
        (5, 3, 3, FAILED),
        (6, 3, 3, FAILED),
    ]


async def test_a_retry_comes_back_at_its_time(tmp_path: Path) -> None:
    """A failure with a retry left is due again when the settlement says."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (first,) = await due(store, webhook.row)
        at_ms = clock.schedule_ms() + RETRY_MS
        await store.settle([settlement(first, revision, SCHEDULED, next_attempt_ms=at_ms)])
        (second,) = await due(store, webhook.row)
        assert (second.due_ms, second.failures, second.attempts) == (at_ms, 1, 1)
        assert await store.earliest_due() == {webhook.row: at_ms}


async def test_two_settlements_of_one_delivery_in_one_batch(tmp_path: Path) -> None:
    """When one delivery is settled twice in a transaction both attempts count, in order."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (waiting,) = await due(store, webhook.row)
        first = settlement(waiting, revision, SCHEDULED, next_attempt_ms=1)
        waiting.attempts = 1
        await asyncio.gather(
            store.settle([first]), store.settle([settlement(waiting, revision, DELIVERED)])
        )
    assert rows(tmp_path, "SELECT number, previous FROM attempts") == [(1, None), (2, 1)]
    assert rows(tmp_path, "SELECT state, attempts FROM deliveries") == [(DELIVERED, 2)]


@pytest.mark.parametrize(
    ("meanwhile", "ends", "expected"),
    [
        (HELD, SCHEDULED, HELD),
        (HELD, FAILED, HELD),
        (HELD, DELIVERED, DELIVERED),
        (CANCELLED, SCHEDULED, CANCELLED),
        (CANCELLED, FAILED, CANCELLED),
        (CANCELLED, DELIVERED, DELIVERED),
    ],
)
async def test_what_was_held_or_cancelled_in_flight_stays_so_unless_delivered(
    tmp_path: Path, meanwhile: DeliveryState, ends: DeliveryState, expected: DeliveryState
) -> None:
    """An attempt that ends after its delivery was converted moves it only by succeeding."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        (in_flight,) = await due(store, webhook.row)
        if meanwhile is HELD:
            await store.hold_chunk(webhook.row)
        else:
            await store.cancel_chunk(webhook.row)
        at_ms = 5 if ends is SCHEDULED else None
        await store.settle([settlement(in_flight, revision, ends, next_attempt_ms=at_ms)])
    assert rows(tmp_path, "SELECT state, next_attempt_ms, attempts FROM deliveries") == [
        (expected, None, 1)
    ]
    assert expected is meanwhile or (meanwhile, expected) in TRANSITIONS


async def test_a_purged_delivery_leaves_no_orphan(tmp_path: Path) -> None:
    """Of settlements that come together those of deliveries that retention took write nothing."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)] * 2)
        gone = await due(store, webhook.row)
        await store.hold_chunk(webhook.row)
        await clock.advance(10)
        await store.append([append(webhook.row)])
        await store.purge(history_s=1, max_size=10**12)
        (left,) = await due(store, webhook.row)
        await store.settle(
            [
                settlement(gone[0], revision, DELIVERED),
                settlement(left, revision, FAILED),
                settlement(gone[1], revision, DELIVERED),
            ]
        )
    assert rows(tmp_path, "SELECT delivery FROM attempts") == [(left.row,)]
    assert rows(tmp_path, "SELECT id, state, webhook FROM deliveries") == [
        (left.row, FAILED, webhook.row)
    ]


async def test_health_and_mails_are_written_with_the_settlement(tmp_path: Path) -> None:
    """A webhook's health and a mail about it reach the disk in the settlement's transaction."""
    heard = Heard()
    health = Health(1, 2, 3, 4, warned=True, proven=True)
    async with opened(tmp_path, observer=heard) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row), append(webhook.row)])
        one, two = await due(store, webhook.row)
        heard.commits.clear()
        await store.settle(
            [
                settlement(one, revision, FAILED, health=Health(failures=9)),
                settlement(two, revision, FAILED, health=health),
            ],
            outbox=[OutboxMail("<1@relay>", "subject", "body")],
        )
        assert len(heard.commits) == 1
        (after,) = await store.webhooks()
        (mail,) = await store.due_mails()
    assert after.health == health
    assert mail.mail == OutboxMail("<1@relay>", "subject", "body")


async def test_a_settlement_without_a_revision_is_an_error(tmp_path: Path) -> None:
    """An attempt that names no picture of its request is refused at once."""
    async with opened(tmp_path) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(webhook.row)])
        (waiting,) = await due(store, webhook.row)
        with pytest.raises(ValueError, match="names no revision"):
            store.settle([settlement(waiting, 0, DELIVERED)])


async def test_a_sample_is_settled_where_it_was_stored(tmp_path: Path) -> None:
    """A test delivery goes from its first state to its outcome and never into the schedule."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        sample = append(webhook.row)
        target = type(sample.targets[0])(webhook.row, FAILED, sample.targets[0].format)
        (appended,) = await store.append([type(sample)(sample.event, (target,), is_test=True)])
        assert await due(store, webhook.row) == []
        await store.settle(
            [
                Settlement(
                    appended.first_delivery_row, webhook.row, revision, 1, Trigger.TEST,
                    attempt(Outcome.SUCCESS), DELIVERED, 0,
                )
            ]
        )  # fmt: skip
    assert rows(tmp_path, "SELECT state, next_attempt_ms FROM deliveries") == [(DELIVERED, None)]
    assert rows(tmp_path, "SELECT is_test FROM events") == [(1,)]


class TestDuePages:
    async def test_pages_are_in_order_and_complete(self, tmp_path: Path) -> None:
        """Walking by pages meets every delivery once, in order of time and row."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, _ = await add_webhook(store)
            other, _ = await add_webhook(store)
            for _ in range(3):  # many rows share one millisecond
                await store.append([append(webhook.row, other.row) for _ in range(7)])
                await clock.advance(1)
            met = []
            key = START
            while page := await store.due_page(webhook.row, key, 4):
                met += page
                key = (page[-1].due_ms, page[-1].row)
        assert [d.row for d in met] == [delivery_row(nth) for nth in range(1, 43, 2)]
        assert {d.webhook_row for d in met} == {webhook.row}
        assert [d.event_row for d in met] == [event_row(nth) for nth in range(1, 22)]

    async def test_a_manual_attempt_shows_where_its_schedule_goes_on(self, tmp_path: Path) -> None:
        """A due delivery carries everything that the dispatcher must know of it."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)])
            received = clock.wall_ms()
            (first,) = await due(store, webhook.row)
            at_ms = clock.schedule_ms() + RETRY_MS
            await store.settle([settlement(first, revision, SCHEDULED, next_attempt_ms=at_ms)])
            await clock.advance(3)
            asked = await store.retry_one(first.row)
            (read,) = await due(store, webhook.row)
        assert read == asked
        assert read.manual
        assert (read.due_ms, read.resume_ms) == (received + 3000, at_ms)
        assert (read.failures, read.attempts, read.received_at_ms) == (1, 1, received)


async def test_backlog_counts_what_waits(tmp_path: Path) -> None:
    """Scheduled and held deliveries are counted, and the earliest due time is found."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        one, _ = await add_webhook(store)
        two, _ = await add_webhook(store)
        begin = clock.schedule_ms()
        await store.append([append(one.row, two.row)])
        await clock.advance(1)
        await store.append([append(two.row)])
        await store.hold_chunk(one.row)
        backlog = await store.backlog()
        assert (backlog.scheduled, backlog.held, backlog.oldest_due_ms) == (2, 1, begin)
        assert (await store.earliest_due()) == {two.row: begin}


async def test_heartbeats_survive_a_restart(tmp_path: Path) -> None:
    """The last heartbeat of the run before is known after reopening."""
    async with opened(tmp_path) as store:
        assert store.alive_schedule_ms == 0
        await store.heartbeat(1234)
    async with opened(tmp_path) as store:
        assert store.alive_schedule_ms == 1234


async def test_what_a_function_raises_is_its_own(tmp_path: Path) -> None:
    """A failing function in the seam rolls back its own writes and nobody else's."""
    async with opened(tmp_path) as store:

        def fail(connection: object) -> None:
            connection.execute("DELETE FROM contexts")  # type: ignore[attr-defined]
            raise KeyError("no")

        results = await asyncio.gather(
            store.append([append()]), store.write(fail), store.append([append()]),
            return_exceptions=True,
        )  # fmt: skip
        assert [type(result) for result in results] == [list, KeyError, list]
        assert await store.read(
            lambda c: c.execute("SELECT count(*) FROM contexts").fetchone()
        ) == (1,)
    with raw(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (2,)


async def test_readers_cannot_write(tmp_path: Path) -> None:
    """A read-only connection refuses every change."""
    async with opened(tmp_path) as store:
        with pytest.raises(Exception, match="readonly"):
            await store.read(lambda c: c.execute("DELETE FROM events"))
