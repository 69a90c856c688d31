import asyncio
from pathlib import Path

import pytest

from prynt_relay.model import ids
from prynt_relay.model.event import Append, Appended
from prynt_relay.model.states import Format
from prynt_relay.store import Store, fanout
from prynt_relay.store.connection import InlineConnection
from prynt_relay.store.dedup import RESERVE_AHEAD
from prynt_relay.store.history_detail import find_event
from prynt_relay.store.numbers import numbers_at
from tests.clock import FakeClock
from tests.integration.store.parts import (
    DELIVERED,
    HELD,
    Heard,
    add_webhook,
    append,
    delivery_row,
    due,
    event,
    event_row,
    open_store,
    opened,
    raw,
    rows,
    settle_all,
    to,
)


async def test_an_event_is_on_disk_with_its_deliveries_when_the_future_resolves(
    tmp_path: Path,
) -> None:
    """An appended event and a delivery for each target can be read from the file at once."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        one, _ = await add_webhook(store)
        two, _ = await add_webhook(store)
        batch = [
            Append(event(b'{"a": 1.0}'), to(one.row) + to(two.row, state=HELD)),
            Append(event(b"{}", created_at_ms=5), to(two.row)),
            Append(event(b"{}"), ()),
        ]
        first, second, nowhere = await store.append(batch)
        assert rows(
            tmp_path, "SELECT id, webhook, event, state, next_attempt_ms FROM deliveries"
        ) == [
            (delivery_row(1), one.row, event_row(1), 0, clock.schedule_ms()),
            (delivery_row(2), two.row, event_row(1), 3, None),
            (delivery_row(3), two.row, event_row(2), 0, clock.schedule_ms()),
        ]
        assert rows(
            tmp_path, "SELECT data, created_at_ms, received_at_ms, first_delivery FROM events"
        ) == [
            (b'{"a": 1.0}', None, clock.wall_ms(), delivery_row(1)),
            (b"{}", 5, clock.wall_ms(), delivery_row(3)),
            (b"{}", None, clock.wall_ms(), delivery_row(4)),
        ]
    third = ids.event_id(event_row(3), clock.wall_ms())
    assert nowhere == Appended(third, False, None, delivery_row(4), nowhere.due_ms)
    assert first.stored is not None
    assert second.stored is not None
    assert (first.first_delivery_row, first.due_ms) == (delivery_row(1), clock.schedule_ms())
    assert first.event_id == ids.event_id(event_row(1), clock.wall_ms())
    assert first.event_id == first.stored.event_id
    assert first.stored.created_at_ms == clock.wall_ms()
    assert second.stored.created_at_ms == 5
    assert second.stored.idempotency_key == ids.idempotency_key(event_row(2))
    assert first.stored.api_version == "2026-01-15"


async def test_stored_events_read_back_as_they_were_appended(tmp_path: Path) -> None:
    """What `events` reads is what `append` answered, and rows that aren't there are left out."""
    async with opened(tmp_path) as store:
        appended = await store.append(
            [
                append(1),
                append(1, event_id="evt_zzzzzzzzzzzz1", idempotency_key="order-1", created_at_ms=7),
                append(1, event_type="custom.type", data=b'{"x":"\xc3\xa9"}'),
            ]
        )
        found = await store.events([event_row(nth) for nth in (3, 1, 2, 99)])
    assert found == {item.stored.row: item.stored for item in appended if item.stored}
    assert len(found) == 3


async def test_due_time_and_receipt_are_those_of_the_call(tmp_path: Path) -> None:
    """An append counts from the moment it was enqueued, not from its commit."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        then = clock.wall_ms()
        future = store.append([append(1)])
        await clock.advance(5)
        (appended,) = await future
    assert appended.stored is not None
    assert appended.stored.received_at_ms == then
    assert appended.due_ms == then


async def test_what_queues_up_during_a_commit_shares_the_next(tmp_path: Path) -> None:
    """Appends made while the writer is busy go into one transaction together."""
    heard = Heard()
    async with opened(tmp_path, observer=heard) as store:
        heard.commits.clear()
        await asyncio.gather(*(store.append([append()]) for _ in range(50)))
    assert sum(heard.commits) == 50
    assert len(heard.commits) <= 2


async def test_a_batch_is_bounded_in_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue is written in several transactions of bounded size, in order."""
    monkeypatch.setattr("prynt_relay.store.batch_bound.MOST_ROWS", 100)
    heard = Heard()
    async with opened(tmp_path, observer=heard) as store:
        heard.commits.clear()
        answers = await asyncio.gather(*(store.append([append()] * 10) for _ in range(60)))
    assert max(heard.commits) <= 100
    assert [item.event_id for answer in answers for item in answer] == sorted(
        item.event_id for answer in answers for item in answer
    )


class TestRepeats:
    async def test_the_same_key_again_answers_the_first_event(self, tmp_path: Path) -> None:
        """A repeated idempotency key stores nothing and names the first event, also later on."""
        async with opened(tmp_path) as store:
            (first,) = await store.append([append(1, idempotency_key="order-1")])
            (again,) = await store.append([append(1, idempotency_key="order-1", data=b'{"b":2}')])
        async with opened(tmp_path) as store:
            (later,) = await store.append([append(1, idempotency_key="order-1")])
        assert again == later == Appended(first.event_id, duplicate=True)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]
        assert rows(tmp_path, "SELECT count(*) FROM deliveries") == [(1,)]

    async def test_the_same_event_id_again_answers_the_first_event(self, tmp_path: Path) -> None:
        """A repeated event id is a duplicate even under another key."""
        async with opened(tmp_path) as store:
            (first,) = await store.append([append(event_id="evt_AAAAAAAAAAAAA")])
            (again,) = await store.append(
                [append(event_id="evt_AAAAAAAAAAAAA", idempotency_key="k")]
            )
        assert first.event_id == "evt_AAAAAAAAAAAAA"
        assert again == Appended("evt_AAAAAAAAAAAAA", duplicate=True)

    async def test_repeats_inside_one_batch_and_one_transaction(self, tmp_path: Path) -> None:
        """The first of several in a batch, or in calls that share a commit, is stored alone."""
        async with opened(tmp_path) as store:
            one, two = await asyncio.gather(
                store.append([append(idempotency_key="a"), append(idempotency_key="a")]),
                store.append([append(idempotency_key="a"), append(idempotency_key="b")]),
            )
        assert [item.duplicate for item in one + two] == [False, True, True, False]
        assert {item.event_id for item in one + two[:1]} == {one[0].event_id}
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]

    async def test_a_key_that_the_relay_made_counts(self, tmp_path: Path) -> None:
        """An event sent again under the key or the id that the relay gave it is a duplicate."""
        async with opened(tmp_path) as store:
            (first,) = await store.append([append(1)])
            assert first.stored is not None
            answers = await store.append(
                [
                    append(idempotency_key=first.stored.idempotency_key),
                    append(event_id=first.event_id),
                ]
            )
        assert answers == [Appended(first.event_id, duplicate=True)] * 2

    async def test_a_key_older_than_the_window_is_new(self, tmp_path: Path) -> None:
        """After the window the same key is a new event, and the window starts afresh with it."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            (first,) = await store.append([append(idempotency_key="k")])
            await clock.advance(86_399)
            (within,) = await store.append([append(idempotency_key="k")])
            await clock.advance(2)
            (after,) = await store.append([append(idempotency_key="k")])
            await clock.advance(80_000)
            (again,) = await store.append([append(idempotency_key="k")])
        assert within.event_id == first.event_id
        assert not after.duplicate
        assert again == Appended(after.event_id, duplicate=True)

    async def test_an_id_used_again_after_the_window_names_the_newest(self, tmp_path: Path) -> None:
        """Whoever looks for an id finds the event that came with it last."""
        clock = FakeClock()
        own_id = "evt_BBBBBBBBBBBBB"
        async with opened(tmp_path, clock) as store:
            (first,) = await store.append([append(1, event_id=own_id)])
            assert first.stored is not None
            assert await store.read(lambda raw: find_event(raw, own_id)) == first.stored.row
            await clock.advance(86_401)
            (again,) = await store.append([append(1, event_id=own_id)])
            assert again.stored is not None
            assert await store.read(lambda raw: find_event(raw, own_id)) == again.stored.row

    async def test_keys_that_only_look_alike_are_different(self, tmp_path: Path) -> None:
        """Keys differ in case, and a key equal to another event's id is not that event."""
        async with opened(tmp_path) as store:
            answers = await store.append(
                [
                    append(idempotency_key="Key"),
                    append(idempotency_key="key"),
                    append(event_id="evt_BBBBBBBBBBBBB"),
                    append(idempotency_key="evt_BBBBBBBBBBBBB"),
                ]
            )
        assert not any(item.duplicate for item in answers)

    async def test_a_repeat_is_answered_only_once_the_first_is_on_disk(
        self, tmp_path: Path
    ) -> None:
        """A duplicate of an event whose large fan-out is under way waits for its end."""
        async with opened(tmp_path) as store:
            order: list[str] = []
            first = store.append([append(*range(1, 3501), idempotency_key="big")])
            again = store.append([append(idempotency_key="big")])
            first.add_done_callback(lambda _: order.append("first"))
            again.add_done_callback(lambda _: order.append("again"))
            (repeat,) = await again
            assert repeat.duplicate
            assert rows(tmp_path, "SELECT count(*) FROM deliveries") == [(3500,)]
            await first
            assert order == ["first", "again"]

    async def test_a_computed_id_never_equals_a_supplied_one(self, tmp_path: Path) -> None:
        """A number whose id or key a publisher already used is skipped, also in the same batch."""
        clock = FakeClock()
        now_ms = clock.wall_ms()
        async with opened(tmp_path, clock) as store:
            taken = [
                append(1, event_id=ids.event_id(event_row(3), now_ms)),
                append(1, idempotency_key=ids.idempotency_key(event_row(4))),
            ]
            same_batch = await store.append([*taken, append(1)])
            later = await store.append(
                [append(1), append(1, event_id=ids.event_id(event_row(8), now_ms)), append(1)]
            )
        async with opened(tmp_path, clock) as store:
            after = await store.append([append(1), append(1)])
        answers = [*same_batch, *later, *after]
        assert [item.stored.row for item in answers if item.stored] == [
            event_row(nth) for nth in (1, 2, 5, 6, 7, 9, 10, 11)
        ]
        assert len({item.event_id for item in answers}) == 8
        assert len({item.stored.idempotency_key for item in answers if item.stored}) == 8

    async def test_only_what_could_be_made_soon_is_kept_free(self, tmp_path: Path) -> None:
        """Far numbers and far seconds cost nothing; near ones count from the clock as well.

        A start goes on from the clock, which may be far ahead of a quiet relay's numbers.
        """
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            await clock.advance(100 * 86_400)
            now_ms = clock.wall_ms()
            (soon, _), day_s = numbers_at(now_ms), 86_400
            supplied = [
                append(1, idempotency_key=ids.idempotency_key(soon + 7)),
                append(1, idempotency_key=ids.idempotency_key(soon + RESERVE_AHEAD + 7)),
                append(1, event_id=ids.event_id(soon + 8, now_ms + 1000 * day_s)),
                append(1, event_id=ids.event_id(soon + 9, now_ms + 10 * 1000 * day_s)),
                append(1, event_id=ids.event_id(soon - 9, now_ms)),
            ]
            await store.append(supplied)
        assert rows(tmp_path, "SELECT row FROM reserved_rows") == [(soon + 7,), (soon + 8,)]

    async def test_numbers_that_were_passed_are_given_up_in_portions(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many reserved numbers a start went past, no append deletes more than a few."""
        monkeypatch.setattr("prynt_relay.store.dedup.PASSED_AT_ONCE", 3)
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            keys = [ids.idempotency_key(event_row(nth)) for nth in range(20, 28)]
            await store.append([append(1, idempotency_key=key) for key in keys])
        await clock.advance(86_400)
        left = []
        async with opened(tmp_path, clock) as store:
            for _ in range(4):
                await store.append([append(1)])
                left += rows(tmp_path, "SELECT count(*) FROM reserved_rows")
        assert left == [(5,), (2,), (0,), (0,)]


class TestLargeFanouts:
    async def test_many_targets_are_written_in_bounded_transactions(self, tmp_path: Path) -> None:
        """An event with more targets than fit is acknowledged after the last of its chunks."""
        heard = Heard()
        targets = range(1, 2 * fanout.CHUNK + 2)
        async with opened(tmp_path, observer=heard) as store:
            heard.commits.clear()
            (big,) = await store.append([append(*targets)])
            assert heard.commits == [1, fanout.CHUNK, fanout.CHUNK, 1]
            assert rows(tmp_path, "SELECT fanout_pending FROM events") == [(0,)]
            assert big.late
            stored = rows(tmp_path, "SELECT id, webhook FROM deliveries ORDER BY id")
        assert stored == [
            (big.first_delivery_row + i, webhook) for i, webhook in enumerate(targets)
        ]

    async def test_other_traffic_goes_on_in_between(self, tmp_path: Path) -> None:
        """A small append behind a large fan-out doesn't wait for all of it."""
        async with opened(tmp_path) as store:
            order: list[str] = []
            big = store.append([append(*range(1, 8001))])
            small = store.append([append(1)])
            big.add_done_callback(lambda _: order.append("big"))
            small.add_done_callback(lambda _: order.append("small"))
            await asyncio.gather(big, small)
        assert order == ["small", "big"]
        assert not small.result()[0].late

    async def test_a_change_behind_it_sees_all_of_its_rows(self, tmp_path: Path) -> None:
        """A hold that was asked for after a large fan-out finds every delivery before it."""
        async with opened(tmp_path) as store:
            webhook, _ = await add_webhook(store)
            big = store.append([append(*[webhook.row] * 2500)])
            held = store.hold_chunk(webhook.row, 10_000)
            assert await held == 2500
            assert big.done()

    async def test_a_batch_with_many_deliveries_is_stored_whole(self, tmp_path: Path) -> None:
        """An array whose deliveries exceed a transaction has all events in the first one."""
        async with opened(tmp_path) as store:
            batch = [append(*range(1, 101)) for _ in range(100)]
            answers = await store.append(batch)
            counts = rows(
                tmp_path,
                "SELECT min(id), count(*) FROM deliveries GROUP BY event ORDER BY event",
            )
        assert counts == [(item.first_delivery_row, 100) for item in answers]

    async def test_one_that_a_crash_cut_short_is_finished_at_the_next_start(
        self, tmp_path: Path
    ) -> None:
        """Deliveries of a pending fan-out are completed exactly, without any repeated."""
        async with opened(tmp_path) as store:
            await store.append([append(*range(1, 2501))])
        with raw(tmp_path) as connection:  # as it was after the first of three chunks
            packed = fanout.pack_targets(to(*range(1, 2501)))
            connection.execute("DELETE FROM deliveries WHERE id > ?", (delivery_row(1000),))
            connection.execute("UPDATE events SET fanout_pending = 1")
            connection.execute("INSERT INTO fanouts VALUES (?, 123, ?)", (event_row(1), packed))
            connection.commit()
        async with opened(tmp_path) as store:
            (other,) = await store.append([append(7)])
            assert other.first_delivery_row == delivery_row(2501)
            await store.hold_chunk(4711)  # waits for every fan-out before it
            assert rows(
                tmp_path,
                "SELECT count(*), count(DISTINCT webhook) FROM deliveries WHERE event = ?",
                event_row(1),
            ) == [(2500, 2500)]
            assert rows(tmp_path, "SELECT count(*) FROM fanouts") == [(0,)]


async def test_numbers_are_not_given_out_twice(tmp_path: Path) -> None:
    """After the newest rows were purged and the store reopened the counting goes on."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        (first,) = await store.append([append(1, idempotency_key="k")])
        await store.cancel_chunk(1)
        await clock.advance(10)
        await store.purge(history_s=1, max_size=10**12)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(0,)]
    async with opened(tmp_path, clock) as store:
        (second,) = await store.append([append(1)])
    assert first.stored is not None
    assert second.stored is not None
    assert second.stored.row > first.stored.row
    assert second.first_delivery_row > first.first_delivery_row


async def test_the_context_of_an_event_stays_with_it(tmp_path: Path) -> None:
    """Events keep the API version and source that were configured when they came in."""
    async with opened(tmp_path, api_version="2025-01-01", event_source="urn:old") as store:
        await store.append([append()])
    async with opened(tmp_path) as store:
        await store.append([append()])
        found = await store.events([event_row(1), event_row(2)])
    assert [(e.api_version, e.event_source) for _, e in sorted(found.items())] == [
        ("2025-01-01", "urn:old"),
        ("2026-01-15", "urn:prynt-relay"),
    ]


async def test_formats_stay_with_deliveries(tmp_path: Path) -> None:
    """A delivery's format is the one that its target named."""
    async with opened(tmp_path) as store:
        webhook, _ = await add_webhook(store)
        (target,) = to(webhook.row)
        slack = type(target)(webhook.row, target.state, Format.SLACK)
        await store.append([Append(event(), (slack,))])
        (delivery,) = await due(store, webhook.row)
    assert delivery.format is Format.SLACK


async def test_one_event_that_cannot_be_written_does_not_harm_its_neighbours(
    tmp_path: Path,
) -> None:
    """Of appends that share a transaction only the impossible one fails."""
    store: Store = await open_store(tmp_path)
    try:
        answers = await asyncio.gather(
            store.append([append()]),
            store.append([append(created_at_ms=1 << 70)]),
            store.append([append()]),
            return_exceptions=True,
        )
    finally:
        await store.close()
    assert [type(answer) for answer in answers] == [list, OverflowError, list]
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(2,)]


async def test_the_same_store_runs_without_threads(tmp_path: Path) -> None:
    """For simulations the whole store works on the loop's own thread."""
    async with opened(tmp_path, opener=InlineConnection.open) as store:
        webhook, revision = await add_webhook(store)
        (first,) = await store.append([append(webhook.row, idempotency_key="k")])
        (again,) = await store.append([append(webhook.row, idempotency_key="k")])
        assert await settle_all(store, webhook.row, revision, DELIVERED) == 1
    assert again == Appended(first.event_id, duplicate=True)
    assert rows(tmp_path, "SELECT state FROM deliveries") == [(DELIVERED,)]
