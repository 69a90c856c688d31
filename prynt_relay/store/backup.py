"""A consistent copy of the database, taken while the daemon writes to it."""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from prynt_relay.errors import StorageError
from prynt_relay.store.connection import connect_reader
from prynt_relay.store.faults import reason


def backup(database: Path, target: Path) -> None:
    """Copy `database` to `target`, which must not exist; complete and synced, or not there at all.

    Reads through a connection of its own that can't write, so the daemon may run. The copy is
    readable by its owner only. Blocks; raises StorageError.
    """
    if not database.exists():
        raise StorageError(f"{database}: there is no database; is this the right state_dir?")
    if target.exists() or target.is_symlink():
        raise StorageError(f"{target}: exists already, and a backup overwrites nothing")
    if not target.absolute().parent.is_dir():
        raise StorageError(
            f"{target}: there is no folder {target.absolute().parent}; make it, or name another"
        )
    try:
        connection = connect_reader(database, query_only=False)
        try:
            copy_database(connection, target, replace=False)
        finally:
            connection.close()
    except FileExistsError as error:
        raise StorageError(f"{target}: exists already, and a backup overwrites nothing") from error
    except sqlite3.Error as error:
        raise StorageError(f"{target}: the backup failed: {reason(error)}") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(
            f"{target}: the backup failed: {why}; this user must be able to write to its folder, "
            "on a file system with room and with hard links"
        ) from error


def copy_database(connection: sqlite3.Connection, target: Path, *, replace: bool) -> None:
    """Write a copy of what `connection` sees to `target`.

    Raises FileExistsError if `target` exists and `replace` is false. With `replace` its folder is
    ours, and what a copy that was cut short left there goes; else nothing of others' is touched.
    """
    mark = "" if replace else f".{secrets.token_hex(8)}"
    unfinished = target.with_name(f"{target.name}{mark}.unfinished")
    if replace:
        unfinished.unlink(missing_ok=True)
    # VACUUM INTO takes an empty file as well; this one has its mode from the start.
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        sync_path(unfinished)
        if replace:
            unfinished.replace(target)
        else:
            os.link(unfinished, target)  # refuses to overwrite, unlike a rename
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
    sync_path(target.absolute().parent)


def sync_path(path: Path) -> None:
    """Make a file's content, or a folder's names, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
