from functools import partial
from pathlib import Path

import pytest

from prynt_relay.errors import StorageUnavailableError
from prynt_relay.model.event import Append
from prynt_relay.store import Purged, Store, purge
from prynt_relay.store.connection import PAGE_BYTES
from tests.clock import FakeClock
from tests.integration.store.parts import (
    DELIVERED,
    FAILED,
    HELD,
    SCHEDULED,
    Heard,
    add_webhook,
    append,
    delivery_row,
    due,
    event_row,
    opened,
    rows,
    settle_all,
    settlement,
    to,
)

NO_LIMIT = 10**12


async def test_old_settled_history_goes_whole(tmp_path: Path) -> None:
    """Events received before the cutoff go with their deliveries and all attempts."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        await store.append([append(webhook.row, webhook.row)] * 3)
        for delivery in await due(store, webhook.row):  # two attempts each
            await store.settle([settlement(delivery, revision, SCHEDULED, next_attempt_ms=1)])
        await settle_all(store, webhook.row, revision, FAILED)
        await clock.advance(100)
        await store.append([append(webhook.row)])
        await settle_all(store, webhook.row, revision, DELIVERED)
        await clock.advance(50)
        assert await store.purge(history_s=100, max_size=NO_LIMIT) == Purged(3, 6, 12, 0)
        assert await store.purge(history_s=100, max_size=NO_LIMIT) == Purged()
    assert rows(tmp_path, "SELECT id FROM events") == [(event_row(4),)]
    assert rows(tmp_path, "SELECT id, event FROM deliveries") == [(delivery_row(7), event_row(4))]
    assert rows(tmp_path, "SELECT delivery FROM attempts") == [(delivery_row(7),)]


async def test_a_scheduled_delivery_keeps_its_event(tmp_path: Path) -> None:
    """What is still scheduled stays, with its siblings; what was received around it goes."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        one, revision = await add_webhook(store)
        two, _ = await add_webhook(store)
        await store.append([append(one.row, two.row), append(one.row), append(one.row, two.row)])
        await store.append([append()])
        await settle_all(store, one.row, revision, DELIVERED)
        waiting = await due(store, two.row)
        await store.settle([settlement(waiting[1], revision, DELIVERED)])
        await clock.advance(100)
        assert await store.purge(history_s=10, max_size=NO_LIMIT) == Purged(3, 3, 3, 0)
        assert rows(tmp_path, "SELECT id FROM events") == [(event_row(1),)]
        assert rows(tmp_path, "SELECT webhook FROM deliveries") == [(one.row,), (two.row,)]
        assert rows(tmp_path, "SELECT count(*) FROM attempts") == [(1,)]
        assert [d.row for d in await due(store, two.row)] == [waiting[0].row]


async def _seven_held(store: Store, clock: FakeClock) -> None:
    webhook, _ = await add_webhook(store)
    await store.append([append(webhook.row)] * 7)
    await store.hold_chunk(webhook.row)
    await clock.advance(100)


async def test_held_deliveries_go_and_are_counted(tmp_path: Path) -> None:
    """Held deliveries are purged by age like settled ones, and their number is told."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        await _seven_held(store, clock)
        told: list[int] = []
        purged = await store.purge(
            history_s=10, max_size=NO_LIMIT, on_step=lambda step: told.append(step.held)
        )
        assert purged == Purged(7, 7, 0, 7)
        assert sum(told) == 7


async def test_a_pass_that_the_disk_ends_has_told_what_its_steps_took(tmp_path: Path) -> None:
    """Held deliveries that are gone are counted, though the pass fails after them."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        await _seven_held(store, clock)
        told: list[int] = []

        def take(step: Purged) -> None:
            told.append(step.held)
            raise StorageUnavailableError("full")

        with pytest.raises(StorageUnavailableError):
            await store.purge(history_s=10, max_size=NO_LIMIT, on_step=take)
        assert told == [7]
        assert (await store.backlog()).held == 0


async def test_above_the_size_the_oldest_settled_goes_first(tmp_path: Path) -> None:
    """Size purges from the oldest on until enough is free, and spares what is scheduled."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, revision = await add_webhook(store)
        (kept,) = await store.append([append(webhook.row)])
        waiting = await due(store, webhook.row)
        for _ in range(20):
            await store.append([append(data=b'"%s"' % (b"x" * 2000))] * 50)
            await clock.advance(1)
        size = PAGE_BYTES * rows(tmp_path, "PRAGMA page_count")[0][0]
        purged = await store.purge(history_s=10_000, max_size=size // 2)
        pages, free = (
            rows(tmp_path, f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count")
        )
        used = PAGE_BYTES * (pages - free)
        assert size // 4 < used <= size // 2
        left = [row for (row,) in rows(tmp_path, "SELECT id FROM events")]
        assert kept.stored is not None
        assert left == [kept.stored.row, *range(event_row(purged.events + 2), event_row(1002))]
        assert await due(store, webhook.row) == waiting
        assert revision


async def test_the_file_shrinks_once_pages_stay_free(tmp_path: Path) -> None:
    """Pages that nobody needed from one pass to the next are given back to the file system."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        for _ in range(20):
            await store.append([append(data=b'"%s"' % (b"x" * 3000))] * 100)
        await store.read(lambda c: None)
        grown = rows(tmp_path, "PRAGMA page_count")[0][0]
        await clock.advance(100)
        await store.purge(history_s=10, max_size=NO_LIMIT)
        await store.purge(history_s=10, max_size=NO_LIMIT)
        assert rows(tmp_path, "PRAGMA freelist_count") == [(0,)]
    assert store.sizes().database_bytes < PAGE_BYTES * grown / 10
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


async def test_pages_that_traffic_fills_again_are_not_moved_about(tmp_path: Path) -> None:
    """While as much comes in as is purged the free pages are kept for it."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        pages = []
        for _ in range(8):
            await store.append([append(data=b'"%s"' % (b"x" * 3000))] * 200)
            await clock.advance(60)
            await store.purge(history_s=90, max_size=NO_LIMIT)
            pages.append(rows(tmp_path, "PRAGMA page_count")[0][0])
        assert len(set(pages[3:])) <= 2
        assert PAGE_BYTES * rows(tmp_path, "PRAGMA freelist_count")[0][0] > 400_000


async def test_steps_are_small(tmp_path: Path) -> None:
    """No transaction of a pass deletes more than a bounded number of rows, live ones between."""
    clock = FakeClock()
    heard = Heard()
    sizes: list[int] = []
    async with opened(tmp_path, clock, observer=heard) as store:
        webhook, revision = await add_webhook(store)
        for _ in range(4):
            await store.append([append(webhook.row)] * 500)
        await settle_all(store, webhook.row, revision, DELIVERED)
        await clock.advance(100)
        step = purge.purge_step

        def counted(*args: object, **kwargs: object) -> purge.PurgeStep:
            result = step(*args, **kwargs)  # type: ignore[arg-type]
            counts = result.purged
            sizes.append(counts.events + counts.deliveries + counts.attempts)
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(purge, "purge_step", counted)
            total = await store.purge(history_s=10, max_size=NO_LIMIT)
    assert total == Purged(2000, 2000, 2000, 0)
    assert sum(sizes) == 6000
    assert max(sizes) <= 510


async def test_one_event_with_very_many_deliveries_goes_in_pieces(tmp_path: Path) -> None:
    """A fan-out larger than a step is purged over several, its event last."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(*[webhook.row] * 1700)])
        await store.hold_chunk(webhook.row, 10_000)
        await clock.advance(100)
        heard: list[Purged] = []
        after: purge.Position | None = purge.START
        while after is not None:
            step = await store.write(
                partial(
                    purge.purge_step,
                    numbers=store._opened.numbers,
                    after=after,
                    before_ms=clock.wall_ms(),
                    limit=500,
                )
            )
            heard.append(step.purged)
            after = step.after
    assert [step.deliveries for step in heard] == [500, 500, 500, 200]
    assert [step.events for step in heard] == [0, 0, 0, 1]
    assert rows(tmp_path, "SELECT count(*) FROM deliveries") == [(0,)]


async def test_supplied_keys_go_after_the_window_and_ids_with_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are kept for the dedup window, ids for as long as their events are."""
    monkeypatch.setattr("prynt_relay.store.supplied.BUCKET_KEYS", 10)
    clock = FakeClock()

    def counts() -> tuple[int, int]:
        ((keys,),) = rows(tmp_path, "SELECT count(*) FROM supplied_keys")
        ((ids,),) = rows(tmp_path, "SELECT count(*) FROM supplied_ids")
        return keys, ids

    async with opened(tmp_path, clock, dedup_window_s=100.0) as store:
        batch = [
            append(idempotency_key=f"key {n}", event_id=f"evt_AAAAAAAAAA{n:03d}") for n in range(45)
        ]
        await store.append(batch)
        assert counts() == (45, 45)
        await clock.advance(101)
        await store.append([append(idempotency_key="new"), append(event_id="evt_BBBBBBBBBBBBB")])
        await store.purge(history_s=1000, max_size=NO_LIMIT)
        assert counts() == (6, 46)  # the newest bucket stays until the next is begun
        await clock.advance(1000)
        await store.append([append(), *batch[:1]])
        await store.purge(history_s=950, max_size=NO_LIMIT)
        keys, ids = counts()
        assert keys <= 7
        assert ids <= 7
        (again,) = await store.append([append(event_id="evt_AAAAAAAAAA000")])
        assert again.duplicate


async def test_a_wall_that_jumps_ahead_takes_nothing_until_it_is_believed(tmp_path: Path) -> None:
    """Set forward by mistake, the wall has a day to be set right before history goes by it."""
    clock = FakeClock()
    async with opened(tmp_path, clock, dedup_window_s=86_400.0) as store:
        webhook, _ = await add_webhook(store, enabled=False)
        held = append(webhook.row, idempotency_key="key")
        held = Append(held.event, to(webhook.row, state=HELD))
        await store.append([held])
        clock.wall_offset_ms = 31 * 86_400_000
        assert await store.purge(history_s=30 * 86_400, max_size=NO_LIMIT) == Purged()
        clock.wall_offset_ms = 0
        await clock.advance(10)
        assert await store.purge(history_s=30 * 86_400, max_size=NO_LIMIT) == Purged()
        (again,) = await store.append([held])
        assert again.duplicate
        clock.wall_offset_ms = 31 * 86_400_000
        assert await store.purge(history_s=30 * 86_400, max_size=NO_LIMIT) == Purged()
        await clock.advance(86_400)
        assert (await store.purge(history_s=30 * 86_400, max_size=NO_LIMIT)).held == 1


async def test_a_pending_fan_out_is_not_purged(tmp_path: Path) -> None:
    """An event whose deliveries are still being written stays, however old it is."""
    clock = FakeClock()
    async with opened(tmp_path, clock) as store:
        await store.append([append()])
        await store.write(lambda c: c.execute("UPDATE events SET fanout_pending = 1").rowcount)
        await clock.advance(100)
        assert await store.purge(history_s=10, max_size=NO_LIMIT) == Purged()
