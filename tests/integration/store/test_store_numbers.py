"""No id and no generated key is ever made twice, whatever becomes of the database's file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prynt_relay.model import ids
from prynt_relay.model.delivery import DueDelivery
from prynt_relay.store import Store, rollups
from prynt_relay.store.backup import backup
from prynt_relay.store.history import DeliveryFilter, EventFilter, list_deliveries, list_events
from prynt_relay.store.numbers import DELIVERY_BITS
from tests.clock import FakeClock
from tests.integration.store.parts import (
    DELIVERED,
    add_webhook,
    append,
    due,
    opened,
    rows,
    settle_all,
)

HOUR_S = 3600.0


async def made(store: Store, webhook_row: int, count: int) -> set[str]:
    """Store events for a webhook; returns every id and key that the relay made for them."""
    texts: set[str] = set()
    for appended in await store.append([append(webhook_row)] * count):
        assert appended.stored is not None
        texts |= {
            appended.event_id,
            appended.stored.idempotency_key,
            ids.delivery_id(appended.first_delivery_row),
        }
    assert len(texts) == 3 * count
    return texts


def as_sent(deliveries: list[DueDelivery]) -> set[str]:
    """The keys that receivers will be told."""
    return {ids.idempotency_key(delivery.event_row) for delivery in deliveries}


def folders(parent: Path, *names: str) -> Iterator[Path]:
    for name in names:
        folder = parent / name
        folder.mkdir()
        yield folder


async def test_two_new_databases_share_nothing(tmp_path: Path) -> None:
    """A state folder that was lost and begun anew a second later repeats no id and no key."""
    clock = FakeClock()
    seen: set[str] = set()
    for folder in folders(tmp_path, "first", "second", "third"):
        async with opened(folder, clock) as store:
            webhook, _ = await add_webhook(store)
            new = await made(store, webhook.row, 300)
        assert not seen & new
        seen |= new
        await clock.jump(1)


async def test_a_restored_backup_repeats_nothing(tmp_path: Path) -> None:
    """What comes in after a restore has none of the ids and keys given out since the backup.

    What was scheduled in the backup keeps its own, however often it is restored.
    """
    clock = FakeClock()
    lost, first, second = folders(tmp_path, "lost", "first", "second")
    async with opened(lost, clock) as store:
        webhook, _ = await add_webhook(store)
        seen = await made(store, webhook.row, 50)
        backup(lost / "relay.db", first / "relay.db")
        backup(lost / "relay.db", second / "relay.db")
        kept = as_sent(await due(store, webhook.row))
        seen |= await made(store, webhook.row, 3000)
    for restored in (first, second):
        await clock.jump(5)
        async with opened(restored, clock) as store:
            assert as_sent(await due(store, webhook.row)) == kept
            new = await made(store, webhook.row, 3000)
        assert not seen & new
        seen |= new


async def test_a_file_that_was_copied_back_repeats_nothing(tmp_path: Path) -> None:
    """The same holds where a snapshot or a copy of the stopped daemon's file is put in place."""
    clock = FakeClock()
    (folder,) = folders(tmp_path, "state")
    async with opened(folder, clock) as store:
        webhook, _ = await add_webhook(store)
        seen = await made(store, webhook.row, 10)
    snapshot = (folder / "relay.db").read_bytes()
    for _ in range(3):
        await clock.jump(1)
        (folder / "relay.db").write_bytes(snapshot)
        async with opened(folder, clock) as store:
            new = await made(store, webhook.row, 500)
        assert not seen & new
        seen |= new


async def test_a_wall_clock_that_is_set_back_repeats_nothing(tmp_path: Path) -> None:
    """Numbers only ever rise, also from run to run and while the wall's clock goes back."""
    clock = FakeClock()
    seen: set[str] = set()
    last = (0, 0)
    for offset_h in (0, -1, -24 * 365, 1, -24 * 365 * 60, 2):
        clock.wall_offset_ms = int(offset_h * HOUR_S * 1000)
        async with opened(tmp_path, clock) as store:
            webhook, _ = await add_webhook(store)
            new = await made(store, webhook.row, 20)
        assert not seen & new
        seen |= new
        numbers = "SELECT (SELECT max(id) FROM events), (SELECT max(id) FROM deliveries)"
        newest = rows(tmp_path, numbers + ", count(*) FROM events")
        assert newest[0][0] > last[0]
        assert newest[0][1] > last[1]
        assert newest[0][2] == len(seen) / 3
        last = newest[0][:2]


async def test_a_wall_clock_far_ahead_leaves_room(tmp_path: Path) -> None:
    """A start with a senseless date takes no more than it must: years of numbers are left."""
    clock = FakeClock()
    clock.wall_offset_ms = 1 << 50
    async with opened(tmp_path, clock) as store:
        webhook, _ = await add_webhook(store)
        await store.append([append(webhook.row)])
    ((event, delivery),) = rows(tmp_path, "SELECT event, id FROM deliveries")
    assert event < (1 << ids.ROW_BITS) * 15 // 16
    assert delivery < (1 << DELIVERY_BITS) * 15 // 16


async def test_statistics_count_across_a_start(tmp_path: Path) -> None:
    """The counts per minute go on over the numbers that a start leaves out."""
    clock = FakeClock()
    for _ in range(3):
        async with opened(tmp_path, clock) as store:
            await store.append([append()] * 1500)
        await clock.jump(60)
    async with opened(tmp_path, clock) as store:
        now_ms = clock.wall_ms()
        while not (step := await store.read(lambda raw: rollups.scan(raw, now_ms))).is_empty:
            assert await store.write(partial(rollups.add, step=step))
        minutes = await store.read(lambda raw: rollups.read(raw, rollups.MINUTE_S, 5, now_ms))
    assert [minute.events for minute in minutes] == [0, 1500, 1500, 1500, 0]


async def test_logs_and_retention_reach_across_a_start(tmp_path: Path) -> None:
    """Lists, windows of time and retention see what every run before wrote, each row once."""
    clock = FakeClock()
    since = []
    for run in range(3):
        async with opened(tmp_path, clock) as store:
            if run == 0:
                webhook, revision = await add_webhook(store)
            since.append(clock.wall_ms())
            await store.append([append(webhook.row)] * 10)
            await settle_all(store, webhook.row, revision, DELIVERED)
        await clock.jump(HOUR_S)
    async with opened(tmp_path, clock) as store:
        for wanted, count in (
            (DeliveryFilter(), 30),
            (DeliveryFilter(since_ms=since[1], until_ms=since[2]), 10),
            (DeliveryFilter(since_ms=since[1]), 20),
        ):
            page = await store.read(
                partial(list_deliveries, wanted=wanted, before_row=None, limit=100)
            )
            assert len(page.rows) == count
            assert page.before_row is None
        job = await store.start_retry(webhook.row, since[1], {DELIVERED}, since[2])
        assert await store.count_retry(job) == 10
        events = await store.read(
            lambda raw: list_events(raw, EventFilter(since_ms=since[2]), None, 100)
        )
        assert len(events.rows) == 10
        purged = await store.purge(history_s=1.5 * HOUR_S, max_size=1 << 40)
        assert (purged.events, purged.deliveries, purged.attempts) == (20, 20, 20)
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(10,)]
