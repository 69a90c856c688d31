import contextlib
import os
import sqlite3
import stat
from functools import partial
from pathlib import Path

import pytest

from prynt_relay.errors import StateFolderLockedError, StorageError
from prynt_relay.store import migrate
from prynt_relay.store.backup import backup
from prynt_relay.store.connection import start_wal
from prynt_relay.store.lock import StateFolder
from tests.integration.store.parts import (
    add_webhook,
    append,
    due,
    event_row,
    open_store,
    opened,
    raw,
    rows,
)


def read_pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_new_database_is_private_and_set_up(tmp_path: Path) -> None:
    """The file and its log are the owner's alone; it is ours, in WAL, gives pages back."""
    os.umask(0o022)
    async with opened(tmp_path) as store:
        await store.append([append()])
        assert {path.name: mode(path) for path in tmp_path.iterdir()} == {
            "relay.db": 0o600,
            "relay.db-wal": 0o600,
            "relay.db-shm": 0o600,
        }
        for pragma, value in {
            "journal_mode": "wal",
            "synchronous": 2,
            "auto_vacuum": 2,
            "wal_autocheckpoint": 0,
            "mmap_size": 0,
            "application_id": migrate.APPLICATION_ID,
            "user_version": len(migrate.migrations()),
        }.items():
            found = await store.write(partial(read_pragma, name=pragma))
            assert found == value, pragma
    assert [path.name for path in tmp_path.iterdir()] == ["relay.db"]


async def test_the_state_folder_may_have_any_name(tmp_path: Path) -> None:
    """Characters that mean something in a URI are just part of the path."""
    folder = tmp_path / "a b?mode=memory#c%20d"
    folder.mkdir()
    async with opened(folder) as store:
        await store.append([append()])
        assert len(await store.events([event_row(1)])) == 1
        backup(folder / "relay.db", folder / "copy ?#")
    assert sorted(path.name for path in folder.iterdir()) == ["copy ?#", "relay.db"]


async def test_without_a_log_there_is_no_start() -> None:
    """Where SQLite can't keep a write-ahead log the start fails with what to do."""
    with (
        contextlib.closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(StorageError, match="local file system"),
    ):
        start_wal(connection)


async def test_every_table_is_strict(tmp_path: Path) -> None:
    """No column takes a value of another type."""
    async with opened(tmp_path):
        pass
    lax = rows(
        tmp_path,
        "SELECT name FROM pragma_table_list WHERE strict = 0 AND name NOT LIKE 'sqlite%'",
    )
    assert lax == []


class TestForeignFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"not a database at all", "no SQLite database"),
            (b"SQLite format 3\0" + b"\0" * 20, "no SQLite database"),
            (os.urandom(8192), "no SQLite database"),
        ],
    )
    async def test_garbage_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        """A file that isn't SQLite's is named and left as it is."""
        path = tmp_path / "relay.db"
        path.write_bytes(content)
        with pytest.raises(StorageError, match=message):
            await open_store(tmp_path)
        assert path.read_bytes() == content
        assert [found.name for found in tmp_path.iterdir()] == ["relay.db"]

    async def test_another_programs_database_is_refused(self, tmp_path: Path) -> None:
        """A database of another program is named and left as it is, its log too."""
        with raw(tmp_path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE theirs (x)")
            connection.commit()
            before = {path: path.read_bytes() for path in tmp_path.iterdir()}
            with pytest.raises(StorageError, match="belongs to another program"):
                await open_store(tmp_path)
            assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    async def test_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        """A database that a newer program made says so and stays at its version."""
        async with opened(tmp_path) as store:
            await store.append([append()])
        with raw(tmp_path) as connection:
            connection.execute("PRAGMA user_version = 99")
        with pytest.raises(StorageError, match=r"has version 99, this program knows \d;"):
            await open_store(tmp_path)
        assert rows(tmp_path, "PRAGMA user_version") == [(99,)]
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(1,)]

    async def test_a_damaged_database_is_named(self, tmp_path: Path) -> None:
        """Garbage behind a good header is reported as damage, with what to do."""
        async with opened(tmp_path) as store:
            await store.append([append(data=b"x" * 2000)] * 50)
        path = tmp_path / "relay.db"
        content = path.read_bytes()
        path.write_bytes(content[:100] + os.urandom(len(content) - 100))
        with pytest.raises(StorageError, match=r"damaged.*restore a backup"):
            await open_store(tmp_path)

    async def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        """A folder in the file's place is an error with the path, not a traceback."""
        (tmp_path / "relay.db").mkdir()
        with pytest.raises(StorageError, match=r"relay\.db: can't be read"):
            await open_store(tmp_path)

    async def test_an_empty_file_is_a_new_database(self, tmp_path: Path) -> None:
        """A file that somebody made and left empty is used, and private from then on."""
        (tmp_path / "relay.db").touch()
        async with opened(tmp_path) as store:
            await store.append([append()])
        assert mode(tmp_path / "relay.db") == 0o600

    async def test_a_start_that_was_cut_short_is_repeated(self, tmp_path: Path) -> None:
        """What is left of a database that was still being made is thrown away."""
        (tmp_path / "relay.db.new").write_bytes(b"half")
        (tmp_path / "relay.db.new-journal").write_bytes(b"a journal")
        async with opened(tmp_path) as store:
            await store.append([append()])
        assert [path.name for path in tmp_path.iterdir()] == ["relay.db"]

    async def test_a_log_without_its_database_is_not_taken_for_a_new_ones(
        self, tmp_path: Path
    ) -> None:
        """When the database is gone and its log is there nothing is made beside it."""
        (tmp_path / "relay.db-wal").write_bytes(b"precious")
        with pytest.raises(StorageError, match=r"its log relay\.db-wal is there"):
            await open_store(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"relay.db-wal"}


OLD = """
CREATE TABLE meta (id INTEGER PRIMARY KEY, last_event_row INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES (1, 41);
"""
NEW = """
-- A comment; with a semicolon.
ALTER TABLE meta ADD COLUMN more TEXT NOT NULL DEFAULT 'a;b';
CREATE TABLE added (x INTEGER) STRICT;
"""


def old_database(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "relay.db", isolation_level=None)
    migrate.mark(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    migrate.migrate(connection, folder / "relay.db", [(1, OLD)], lambda _: None)
    return connection


class TestMigrations:
    def test_an_older_database_is_upgraded_beside_a_copy(self, tmp_path: Path) -> None:
        """The upgrade keeps the data, and a copy of the file as it was stands beside it."""
        connection = old_database(tmp_path)
        migrate.migrate(
            connection, tmp_path / "relay.db", [(1, OLD), (2, NEW), (3, "DROP TABLE added;")], print
        )
        assert connection.execute("SELECT * FROM meta").fetchall() == [(1, 41, "a;b")]
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        connection.close()
        copy = tmp_path / "relay.db.before-v3"
        assert mode(copy) == 0o600
        with sqlite3.connect(copy) as before:
            assert before.execute("SELECT * FROM meta").fetchall() == [(1, 41)]
            assert before.execute("PRAGMA user_version").fetchone() == (1,)
            assert before.execute("PRAGMA application_id").fetchone() == (migrate.APPLICATION_ID,)
        before.close()

    def test_a_new_database_gets_its_first_row_with_the_first_script(self, tmp_path: Path) -> None:
        """However many scripts there are and wherever it stops, a version has its `meta` row."""

        def fill(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO meta VALUES (1, 7)")

        script = "CREATE TABLE meta (id INTEGER PRIMARY KEY, last_event_row INTEGER) STRICT;"
        connection = sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
        with pytest.raises(StorageError, match="upgrade to version 2 failed"):
            migrate.migrate(
                connection,
                tmp_path / "relay.db",
                [(1, script), (2, "DROP TABLE nowhere;")],
                fill,
            )
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT * FROM meta").fetchall() == [(1, 7)]
        connection.close()

    def test_a_failing_script_changes_nothing(self, tmp_path: Path) -> None:
        """A migration that fails half way leaves the version before it, and says so."""
        connection = old_database(tmp_path)
        scripts = [(1, OLD), (2, NEW + "DROP TABLE nowhere;")]
        with pytest.raises(StorageError, match=r"upgrade to version 2 failed.*still at version 1"):
            migrate.migrate(connection, tmp_path / "relay.db", scripts, print)
        assert connection.execute("SELECT * FROM meta").fetchall() == [(1, 41)]
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        migrate.migrate(connection, tmp_path / "relay.db", [(1, OLD), (2, NEW)], print)
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.close()

    def test_without_room_for_the_copy_nothing_begins(self, tmp_path: Path) -> None:
        """When the copy can't be written the database isn't touched."""
        connection = old_database(tmp_path)
        (tmp_path / "relay.db.before-v2.unfinished").mkdir()
        with pytest.raises(StorageError, match="before the upgrade can't be written"):
            migrate.migrate(connection, tmp_path / "relay.db", [(1, OLD), (2, NEW)], print)
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.close()

    def test_the_scripts_are_numbered_without_gaps(self) -> None:
        """The package's scripts are found, in order, from 1 on."""
        found = migrate.migrations()
        assert [number for number, _ in found] == list(range(1, len(found) + 1))

    def test_a_gap_is_an_error(self, tmp_path: Path) -> None:
        """A missing script stops the start instead of being skipped."""
        (tmp_path / "0001_a.sql").write_text("SELECT 1;")
        (tmp_path / "0003_c.sql").write_text("SELECT 1;")
        with pytest.raises(StorageError, match="missing"):
            migrate.migrations(tmp_path)


class TestBackup:
    async def test_a_backup_of_a_live_database_opens(self, tmp_path: Path) -> None:
        """What was acknowledged before the backup is in it, and the store goes on in the copy."""
        target = tmp_path / "copy" / "relay.db"
        target.parent.mkdir()
        async with opened(tmp_path) as store:
            webhook, _ = await add_webhook(store)
            await store.append([append(webhook.row, idempotency_key="k")])
            backup(tmp_path / "relay.db", target)
            await store.append([append(webhook.row)])
        assert mode(target) == 0o600
        assert [path.name for path in target.parent.iterdir()] == ["relay.db"]
        async with opened(target.parent) as restored:
            assert [w.id for w in await restored.webhooks()] == [webhook.id]
            assert len(await due(restored, webhook.row)) == 1
            (again,) = await restored.append([append(idempotency_key="k")])
            assert again.duplicate

    async def test_a_backup_overwrites_nothing(self, tmp_path: Path) -> None:
        """An existing target, a link too, is refused and left as it is."""
        target = tmp_path / "existing"
        target.write_text("precious")
        beside = tmp_path / "copy.unfinished"
        beside.write_text("precious")
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "nowhere")
        async with opened(tmp_path):
            for path in (target, link):
                with pytest.raises(StorageError, match="overwrites nothing"):
                    backup(tmp_path / "relay.db", path)
            backup(tmp_path / "relay.db", tmp_path / "copy")
        assert beside.read_text() == "precious"
        assert target.read_text() == "precious"
        assert link.is_symlink()

    async def test_a_backup_that_fails_leaves_nothing(self, tmp_path: Path) -> None:
        """A folder that isn't there, or no database, is an error with the path."""
        async with opened(tmp_path):
            with pytest.raises(StorageError, match=r"there is no folder .*/missing; make it"):
                backup(tmp_path / "relay.db", tmp_path / "missing" / "copy")
            with pytest.raises(StorageError, match="failed: File name too long; ") as caught:
                backup(tmp_path / "relay.db", tmp_path / ("x" * 250))
            assert "Error" not in str(caught.value)
        with pytest.raises(StorageError, match="there is no database"):
            backup(tmp_path / "other.db", tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    async def test_a_backup_works_while_the_daemon_is_stopped(self, tmp_path: Path) -> None:
        """A database that nobody has open is copied too, and left without a log."""
        async with opened(tmp_path) as store:
            await store.append([append()])
        backup(tmp_path / "relay.db", tmp_path / "copy")
        with sqlite3.connect(tmp_path / "copy") as copy:
            assert copy.execute("SELECT count(*) FROM events").fetchone() == (1,)
        copy.close()


class TestLock:
    def test_the_folder_is_made_private_and_held(self, tmp_path: Path) -> None:
        """A second daemon on the same folder is refused by name until the first lets go."""
        folder = tmp_path / "a" / "state"
        first = StateFolder(folder)
        assert mode(folder) == 0o700
        with pytest.raises(StateFolderLockedError, match=f"process {os.getpid()}"):
            StateFolder(folder)
        first.release()
        first.release()
        second = StateFolder(folder)
        second.release()

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        """A file in the folder's place is an error with the path."""
        (tmp_path / "state").write_text("")
        with pytest.raises(StorageError, match="can't be used as state_dir"):
            StateFolder(tmp_path / "state")
