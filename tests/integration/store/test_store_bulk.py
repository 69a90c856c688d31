import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prynt_relay.errors import ConflictError, NotFoundError
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.model.event import Append
from prynt_relay.model.states import DeliveryState
from prynt_relay.store import BulkJob, Store
from prynt_relay.store.history_retry import count_window
from tests.clock import FakeClock
from tests.integration.store.parts import (
    CANCELLED,
    DELIVERED,
    FAILED,
    HELD,
    SCHEDULED,
    Heard,
    add_webhook,
    append,
    delivery_row,
    due,
    event,
    opened,
    rows,
    settle_all,
    settlement,
    to,
)

DEFAULT = frozenset({FAILED, HELD, SCHEDULED})


async def run_retry(
    store: Store, job: BulkJob, *, limit: int = 3, busy_rows: frozenset[int] = frozenset()
) -> list[DueDelivery]:
    met: list[DueDelivery] = []
    left: BulkJob | None = job
    while left is not None:
        chunk = await store.retry_chunk(left, limit=limit, busy_rows=busy_rows)
        assert len(chunk.due) <= limit
        met += chunk.due
        left = chunk.job
    return met


async def states(store: Store) -> dict[int, tuple[DeliveryState, int | None]]:
    return {
        row: (DeliveryState(state), at_ms)
        for row, state, at_ms in await store.read(
            lambda c: c.execute("SELECT id, state, next_attempt_ms FROM deliveries").fetchall()
        )
    }


async def test_hold_converts_in_chunks_until_nothing_is_left(tmp_path: Path) -> None:
    """Scheduled deliveries of one webhook become held; another's and settled ones stay."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        other, _ = await add_webhook(store)
        await store.append([append(webhook.row)])
        await settle_all(store, webhook.row, revision, DELIVERED)
        await store.append([append(webhook.row, other.row)] * 5)
        await store.update_webhook(webhook.row, enabled=False)
        assert [job.kind for job in await store.bulk_jobs()] == ["hold"]
        counts = [await store.hold_chunk(webhook.row, 2) for _ in range(4)]
        assert counts == [2, 2, 1, 0]
        assert await store.bulk_jobs() == []
        found = await store.read(
            lambda c: c.execute(
                "SELECT webhook, state, count(*) FROM deliveries GROUP BY 1, 2"
            ).fetchall()
        )
    assert found == [(webhook.row, DELIVERED, 1), (webhook.row, HELD, 5), (other.row, 0, 5)]


async def test_cancel_takes_what_is_scheduled_and_held(tmp_path: Path) -> None:
    """A deleted webhook's open deliveries become cancelled, whether scheduled or held."""
    async with opened(tmp_path) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        await settle_all(store, webhook.row, revision, FAILED)
        await store.append([append(webhook.row)] * 3)
        await store.hold_chunk(webhook.row)
        await store.append([append(webhook.row)] * 2)
        await store.delete_webhook(webhook.row)
        assert [job.kind for job in await store.bulk_jobs()] == ["cancel"]
        assert [await store.cancel_chunk(webhook.row, 4) for _ in range(3)] == [4, 1, 0]
        assert await store.bulk_jobs() == []
        found = [state for state, _ in (await states(store)).values()]
    assert sorted(found) == [FAILED, *[CANCELLED] * 5]


async def test_enabling_ends_a_hold_that_was_noted(tmp_path: Path) -> None:
    """After a webhook is enabled again nothing is left that would hold its deliveries."""
    async with opened(tmp_path) as store:
        webhook, _ = await add_webhook(store)
        await store.update_webhook(webhook.row, enabled=False)
        await store.update_webhook(webhook.row, enabled=True)
        assert await store.bulk_jobs() == []


async def test_noted_work_survives_a_restart(tmp_path: Path) -> None:
    """A hold, a cancel and a retry that were begun are there after reopening, where they were."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        held, _ = await add_webhook(store)
        deleted, _ = await add_webhook(store)
        retried, revision = await add_webhook(store)
        await store.append([append(retried.row)] * 5)
        await settle_all(store, retried.row, revision, FAILED)
        await store.update_webhook(held.row, enabled=False)
        await store.delete_webhook(deleted.row)
        job = await store.start_retry(retried.row, 0, {FAILED}, until_ms=clock.wall_ms() + 1)
        chunk = await store.retry_chunk(job, limit=2)
        assert len(chunk.due) == 2
    async with opened(tmp_path, clock) as store:
        jobs = await store.bulk_jobs()
        assert [(job.kind, job.webhook_row) for job in jobs] == [
            ("hold", held.row),
            ("cancel", deleted.row),
            ("retry", retried.row),
        ]
        assert jobs[2] == chunk.job
        assert len(await run_retry(store, jobs[2])) == 3
        assert len(await store.bulk_jobs()) == 2


class TestRetryOfAWindow:
    async def test_failed_held_and_failing_ones_become_due_now(self, tmp_path: Path) -> None:
        """The default states are retried: settled ones anew, failing ones once more."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 5)
            fresh_ms = clock.schedule_ms()
            failing, failed, delivered, held, fresh = await due(store, webhook.row)
            later_ms = clock.schedule_ms() + 300_000
            await store.settle(
                [
                    settlement(failing, revision, SCHEDULED, next_attempt_ms=later_ms),
                    settlement(failed, revision, FAILED, failures=3),
                    settlement(delivered, revision, DELIVERED),
                ]
            )
            await store.write(
                lambda c: (
                    c.execute(
                        "UPDATE deliveries SET state = 3, next_attempt_ms = NULL WHERE id = ?",
                        (held.row,),
                    ).rowcount
                )
            )
            await clock.advance(60)
            job = await store.start_retry(webhook.row, 0, DEFAULT)
            assert await store.count_retry(job) == 3
            met = {d.row: d for d in await run_retry(store, job, limit=2)}
            now_ms = clock.schedule_ms()
            assert met.keys() == {failing.row, failed.row, held.row}
            assert {d.due_ms for d in met.values()} == {now_ms}
            assert all(d.manual for d in met.values())
            assert (met[failing.row].failures, met[failing.row].resume_ms) == (1, later_ms)
            assert (met[failed.row].failures, met[failed.row].resume_ms) == (0, None)
            assert (met[held.row].failures, met[held.row].resume_ms) == (0, None)
            assert await states(store) == {
                failing.row: (SCHEDULED, now_ms),
                failed.row: (SCHEDULED, now_ms),
                delivered.row: (DELIVERED, None),
                held.row: (SCHEDULED, now_ms),
                fresh.row: (SCHEDULED, fresh_ms),
            }
            assert {d.row: d for d in await due(store, webhook.row) if d.manual} == met

    async def test_delivered_ones_only_when_asked_for(self, tmp_path: Path) -> None:
        """The state `delivered` sends again what arrived, and nothing else."""
        async with opened(tmp_path) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 4)
            await settle_all(store, webhook.row, revision, DELIVERED)
            await store.append([append(webhook.row)] * 4)
            await settle_all(store, webhook.row, revision, FAILED)
            job = await store.start_retry(webhook.row, 0, {DELIVERED})
            assert await store.count_retry(job) == 4
            assert [d.row for d in await run_retry(store, job, limit=1)] == [
                delivery_row(nth) for nth in (1, 2, 3, 4)
            ]

    async def test_the_window_is_of_times_of_receipt(self, tmp_path: Path) -> None:
        """Only what was received from `since_ms` on and before `until_ms` is taken."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            times = []
            for _ in range(5):
                await store.append([append(webhook.row)])
                times.append(clock.wall_ms())
                await clock.advance(10)
            await settle_all(store, webhook.row, revision, FAILED)
            job = await store.start_retry(webhook.row, times[1], {FAILED}, until_ms=times[3])
            assert await store.count_retry(job) == 2
            assert [d.row for d in await run_retry(store, job)] == [
                delivery_row(2),
                delivery_row(3),
            ]
            job = await store.start_retry(webhook.row, clock.wall_ms() + 1, DEFAULT)
            assert await store.count_retry(job) == 0
            assert await run_retry(store, job) == []

    async def test_a_clock_set_back_hides_nothing(self, tmp_path: Path) -> None:
        """Events that were received before the wall clock was set back are still in the window."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            clock.wall_offset_ms = 86_400_000
            await store.append([append(webhook.row)])
            clock.wall_offset_ms = 0
            await store.append([append(webhook.row)])
            await settle_all(store, webhook.row, revision, FAILED)
            job = await store.start_retry(webhook.row, clock.wall_ms() - 1000, {FAILED})
            assert await store.count_retry(job) == 2
            assert len(await run_retry(store, job)) == 2

    async def test_what_is_in_flight_is_left_alone(self, tmp_path: Path) -> None:
        """Busy rows keep their state and their time."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 2)
            later_ms = clock.schedule_ms() + 300_000
            await store.settle(
                [
                    settlement(d, revision, SCHEDULED, next_attempt_ms=later_ms)
                    for d in await due(store, webhook.row)
                ]
            )
            job = await store.start_retry(webhook.row, 0, DEFAULT)
            met = await run_retry(store, job, busy_rows=frozenset({delivery_row(1)}))
            assert [d.row for d in met] == [delivery_row(2)]
            assert (await states(store))[delivery_row(1)] == (SCHEDULED, later_ms)

    @pytest.mark.parametrize(
        ("before", "after"), [(FAILED, SCHEDULED), (DELIVERED, SCHEDULED), (SCHEDULED, DELIVERED)]
    )
    async def test_what_it_sent_is_not_sent_again(
        self, tmp_path: Path, before: DeliveryState, after: DeliveryState
    ) -> None:
        """What was sent and is in another of its states by now isn't taken again, restart or not.

        Else a window that is asked for while the receiver still fails would be sent twice.
        """
        async with opened(tmp_path) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 6)
            later_ms = 1_790_000_300_000
            await store.settle(
                [
                    settlement(each, revision, before,
                               next_attempt_ms=later_ms if before is SCHEDULED else None)
                    for each in await due(store, webhook.row)
                ]
            )  # fmt: skip
            wanted = frozenset({FAILED, DELIVERED, SCHEDULED})
            job: BulkJob | None = await store.start_retry(webhook.row, 0, wanted)
        met: list[int] = []
        while job is not None:
            async with opened(tmp_path) as store:
                (job,) = await store.bulk_jobs()
                chunk = await store.retry_chunk(job, limit=4)
                met += [each.row for each in chunk.due]
                await store.settle(
                    [
                        settlement(each, revision, after,
                                   next_attempt_ms=later_ms if after is SCHEDULED else None)
                        for each in chunk.due
                    ]
                )  # fmt: skip
                job = chunk.job
        assert sorted(met) == [delivery_row(nth) for nth in range(1, 7)]

    async def test_what_comes_in_later_is_not_part_of_it(self, tmp_path: Path) -> None:
        """Deliveries made after the retry was asked for aren't taken by it."""
        async with opened(tmp_path) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)])
            await settle_all(store, webhook.row, revision, FAILED)
            job = await store.start_retry(webhook.row, 0, {FAILED})
            await store.append([append(webhook.row)])
            await settle_all(store, webhook.row, revision, FAILED)
            assert await store.count_retry(job) == 1
            assert [d.row for d in await run_retry(store, job)] == [delivery_row(1)]

    async def test_samples_are_never_part_of_it(self, tmp_path: Path) -> None:
        """Test deliveries are left out in every state, also one cut short; the counts agree."""

        def change(raw: sqlite3.Connection, values: tuple[int, int | None, int]) -> None:
            put = "UPDATE deliveries SET state = ?, next_attempt_ms = ?, failures = 1 WHERE id = ?"
            raw.execute(put, values)

        async with opened(tmp_path) as store:
            webhook, _ = await add_webhook(store)
            sample = Append(event(), to(webhook.row, state=FAILED), is_test=True)
            (cut_short,) = await store.append([sample])
            ordinary: dict[DeliveryState, int] = {}
            for state in (FAILED, HELD, DELIVERED, SCHEDULED):
                due_ms = 1_790_000_300_000 if state is SCHEDULED else None
                for appended in await store.append([sample, append(webhook.row), sample]):
                    values = (state, due_ms, appended.first_delivery_row)
                    await store.write(partial(change, values=values))
                ordinary[state] = appended.first_delivery_row - 1
            for state, row in ordinary.items():
                job = await store.start_retry(webhook.row, 0, {state})
                assert await store.count_retry(job) == 1
                shown = await store.read(
                    partial(
                        count_window,
                        webhook_row=webhook.row,
                        since_ms=0,
                        until_ms=None,
                        states={state},
                    )
                )
                assert shown.by_state == {state: 1}
                assert [each.row for each in await run_retry(store, job)] == [row]
            again = await store.retry_one(cut_short.first_delivery_row)
            assert (again.attempts, again.manual) == (0, True)

    async def test_asking_twice_doubles_nothing(self, tmp_path: Path) -> None:
        """A second retry finds the first one's deliveries under way and keeps where they go on."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)])
            later_ms = clock.schedule_ms() + 300_000
            (first,) = await due(store, webhook.row)
            await store.settle([settlement(first, revision, SCHEDULED, next_attempt_ms=later_ms)])
            await run_retry(store, await store.start_retry(webhook.row, 0, DEFAULT))
            await clock.advance(1)
            assert await run_retry(store, await store.start_retry(webhook.row, 0, DEFAULT)) == []
            again = await store.retry_one(first.row)
        assert again.resume_ms == later_ms

    async def test_disabling_ends_it(self, tmp_path: Path) -> None:
        """A retry that is under way when its webhook is disabled makes nothing due any more."""
        async with opened(tmp_path) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 3)
            await settle_all(store, webhook.row, revision, FAILED)
            job = await store.start_retry(webhook.row, 0, {FAILED})
            await store.update_webhook(webhook.row, enabled=False)
            assert await run_retry(store, job) == []

    async def test_many_rows_share_one_moment(self, tmp_path: Path) -> None:
        """Scheduled deliveries that are all due in the same millisecond are each met once."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)] * 50)
            later_ms = clock.schedule_ms() + 1000
            await store.settle(
                [
                    settlement(d, revision, SCHEDULED, next_attempt_ms=later_ms)
                    for d in await due(store, webhook.row)
                ]
            )
            await clock.advance(2)  # now is after what they were due at
            met = await run_retry(store, await store.start_retry(webhook.row, 0, DEFAULT), limit=4)
        assert sorted(d.row for d in met) == [delivery_row(nth) for nth in range(1, 51)]


class TestRetryOfOne:
    @pytest.mark.parametrize("state", [FAILED, DELIVERED, HELD])
    async def test_a_settled_one_starts_anew(self, tmp_path: Path, state: DeliveryState) -> None:
        """A failed, delivered or held delivery is due now, with its schedule from the start."""
        clock = FakeClock()
        async with opened(tmp_path, clock) as store:
            webhook, revision = await add_webhook(store)
            await store.append([append(webhook.row)])
            if state is HELD:
                await store.hold_chunk(webhook.row)
            else:
                await settle_all(store, webhook.row, revision, state)
            await clock.advance(5)
            asked = await store.retry_one(delivery_row(1))
        assert (asked.due_ms, asked.failures, asked.resume_ms, asked.manual) == (
            clock.schedule_ms(),
            0,
            None,
            True,
        )

    async def test_what_isnt_there_or_cancelled_is_refused(self, tmp_path: Path) -> None:
        """An unknown row is not found, a cancelled one a conflict; both change nothing."""
        async with opened(tmp_path) as store:
            await store.append([append(1)])
            await store.cancel_chunk(1)
            with pytest.raises(NotFoundError):
                await store.retry_one(delivery_row(99))
            with pytest.raises(ConflictError, match="cancelled"):
                await store.retry_one(delivery_row(1))
        assert rows(tmp_path, "SELECT state FROM deliveries") == [(CANCELLED,)]


async def test_chunks_take_turns_with_live_traffic(tmp_path: Path) -> None:
    """A chunk of bulk work never shares a transaction with the appends around it."""
    heard = Heard()
    async with opened(tmp_path, observer=heard) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(webhook.row)] * 100)
        heard.commits.clear()
        order: list[str] = []
        work: list[asyncio.Future[Any]] = [
            store.append([append()]),
            store.hold_chunk(webhook.row, 40),
            store.append([append()]),
            store.hold_chunk(webhook.row, 40),
            store.append([append()]),
        ]
        for name, future in zip(["a", "h", "b", "i", "c"], work, strict=True):
            future.add_done_callback(partial(lambda name, _: order.append(name), name))
        await asyncio.gather(*work)
    assert heard.commits == [1, 40, 1, 40, 1]
    assert order == ["a", "h", "b", "i", "c"]


async def test_a_window_has_what_was_received_before_the_wall_was_set_back(tmp_path: Path) -> None:
    """A retry of a window misses none of its events, whichever of them has the lowest number."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row)])
        clock.wall_offset_ms -= 3_600_000
        await store.append([append(webhook.row)])
        await settle_all(store, webhook.row, revision, FAILED)
        job = await store.start_retry(webhook.row, clock.wall_ms() - 1000, {FAILED})
        assert await store.count_retry(job) == 2
        assert len(await run_retry(store, job)) == 2


@pytest.mark.parametrize("change", ["disabled", "deleted"])
async def test_no_retry_begins_behind_a_disabling(tmp_path: Path, change: str) -> None:
    """A retry asked for while its webhook is being disabled or deleted is refused, not noted."""
    async with opened(tmp_path) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(webhook.row)])
        if change == "disabled":
            changing: asyncio.Future[Any] = store.update_webhook(webhook.row, enabled=False)
        else:
            changing = store.delete_webhook(webhook.row)
        with pytest.raises(ConflictError, match="just now"):
            await store.start_retry(webhook.row, 0, DEFAULT)
        await changing
        assert {job.kind for job in await store.bulk_jobs()} <= {"hold", "cancel"}
