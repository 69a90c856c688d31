"""Upgrades of a real database that run out of disk half way."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from prynt_relay.errors import StorageError
from prynt_relay.model.event import Append, NewEvent
from prynt_relay.store import Store, migrate
from tests.clock import FakeClock
from tests.integration.store.parts import event_row
from tests.integration.store.test_store_faults import small_disk

EVENTS = 300
REWRITE = "CREATE TABLE again AS SELECT * FROM events; DROP TABLE events;"


async def filled(path: Path) -> None:
    """A database of the present version with some events."""
    store = await Store.open(
        path, clock=FakeClock(), api_version="v", event_source="s", dedup_window_s=60
    )
    event = NewEvent("verdict.block", b'{"text":"' + b"x" * 3000 + b'"}')
    await store.append([Append(event, ())] * EVENTS)
    await store.close()


def upgrade(path: Path) -> None:
    """What a later version would do at its start."""
    present = migrate.migrations()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate.migrate(connection, path, [*present, (len(present) + 1, REWRITE)], lambda _: None)


@pytest.mark.parametrize("room", [100_000, 1_700_000], ids=["at the copy", "in the upgrade"])
async def test_an_upgrade_that_runs_out_of_disk_leaves_the_database_as_it_was(
    tmp_path: Path, room: int
) -> None:
    """Full while copying or migrating: a clear error, and this version still opens it."""
    with small_disk(tmp_path / "disk", 4_000_000) as disk:
        path = disk / "relay.db"
        await filled(path)
        filler = disk / "filler"
        usage = sum(file.stat().st_size for file in disk.iterdir())
        filler.write_bytes(b"\0" * max(4_000_000 - usage - room, 0))
        with pytest.raises(StorageError, match=r"unchanged|still at version"):
            upgrade(path)
        filler.unlink()
        store = await Store.open(
            path, clock=FakeClock(), api_version="v", event_source="s", dedup_window_s=60
        )
        assert len(await store.events(range(event_row(1), event_row(EVENTS + 1)))) == EVENTS
        await store.close()


async def test_with_room_the_same_upgrade_works_and_the_copy_takes_it_back(tmp_path: Path) -> None:
    """The upgrade succeeds, this version refuses its result, and the copy beside it still opens."""
    path = tmp_path / "relay.db"
    await filled(path)
    upgrade(path)
    with pytest.raises(StorageError, match="newer"):
        await Store.open(
            path, clock=FakeClock(), api_version="v", event_source="s", dedup_window_s=60
        )
    newest = len(migrate.migrations()) + 1
    path.with_name(f"relay.db.before-v{newest}").replace(path)
    store = await Store.open(
        path, clock=FakeClock(), api_version="v", event_source="s", dedup_window_s=60
    )
    assert len(await store.events(range(event_row(1), event_row(EVENTS + 1)))) == EVENTS
    await store.close()


def first_row(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO meta (id, hash_seed, created_at_ms) VALUES (1, x'00', 0)")


async def test_a_database_of_version_1_goes_on(tmp_path: Path) -> None:
    """Windows that were being sent again go on from now, and filters are made anew."""
    path = tmp_path / "relay.db"
    first = migrate.migrations()[:1]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate.mark(connection)
        migrate.migrate(connection, path, first, first_row)
        connection.execute(
            "INSERT INTO attempts (id, delivery, webhook, revision, number, trigger, started_at_ms,"
            " duration_ms, outcome, signature) VALUES (7, 1, 1, 1, 1, 0, 0, 0, 0, x'00')"
        )
        connection.execute(
            "INSERT INTO bulk_jobs (kind, webhook, created_at_ms) VALUES ('retry', 1, 0)"
        )
        connection.execute("INSERT INTO supplied_keys_filters VALUES (0, x'00')")
    store = await Store.open(
        path, clock=FakeClock(), api_version="v", event_source="s", dedup_window_s=60
    )
    try:
        assert await store.read(lambda raw: raw.execute("PRAGMA user_version").fetchone()) == (
            len(migrate.migrations()),
        )
        windows = "SELECT max_attempt FROM bulk_jobs"
        assert await store.read(lambda raw: raw.execute(windows).fetchall()) == [(7,)]
        filters = "SELECT count(*) FROM supplied_keys_filters"
        assert await store.read(lambda raw: raw.execute(filters).fetchone()) == (0,)
    finally:
        await store.close()
    assert path.with_name(f"relay.db.before-v{len(migrate.migrations())}").exists()
