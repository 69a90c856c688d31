"""Bringing a database file to the schema of this version, or refusing it."""

import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from prynt_relay.errors import StorageError
from prynt_relay.store.backup import copy_database, sync_path
from prynt_relay.store.connection import connect_writer
from prynt_relay.store.faults import reason

APPLICATION_ID: Final = 0x50524E59
"""`PRNY`, in the file's header: what tells our databases from any others."""

_FILE_MODE: Final = 0o600
_HEADER: Final = b"SQLite format 3\0"
_NAME: Final = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql\Z")


def check_file(path: Path) -> bool:
    """Whether the database is new; raises StorageError if the file is something else.

    Looks at the header before SQLite does, so that nothing of a foreign file is touched, not
    even its log.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise StorageError(f"{path}: can't be read: {error.strerror}") from error
    if not header:
        return True
    if len(header) < 100 or not header.startswith(_HEADER):
        raise StorageError(
            f"{path}: this is no SQLite database, or its beginning is damaged; move it away or "
            "restore a backup"
        )
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise StorageError(
            f"{path}: this database belongs to another program; choose another state_dir"
        )
    # The log may hold a later version, which `migrate` sees; this one is refused untouched.
    refuse_newer(path, int.from_bytes(header[60:64]), migrations()[-1][0])
    return False


def refuse_newer(path: Path, version: int, newest: int) -> None:
    """Raise StorageError for a database of a schema that only a later version knows."""
    if version > newest:
        raise StorageError(
            f"{path}: the database has version {version}, this program knows {newest}; "
            f"install the newer prynt-relay again, or restore {path.name}.before-v{newest + 1}"
        )


def migrations(folder: Traversable | None = None) -> list[tuple[int, str]]:
    """The numbered scripts, in order, each with its number."""
    folder = folder or resources.files("prynt_relay.store") / "migrations"
    found = []
    for entry in folder.iterdir():
        match = _NAME.match(entry.name)
        if match is not None:
            found.append((int(match[1]), entry.read_text(encoding="utf-8")))
    found.sort()
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise StorageError(f"migrations are missing: found {[number for number, _ in found]}")
    return found


def make_database(
    path: Path, scripts: list[tuple[int, str]], fill: Callable[[sqlite3.Connection], None]
) -> None:
    """Make a new database of the present schema.

    It gets its name when it is complete and synced, so whenever the machine stops there is a
    whole database or none. Raises StorageError.
    """
    if path.with_name(path.name + "-wal").exists():
        raise StorageError(
            f"{path}: is missing or empty, but its log {path.name}-wal is there; put the database "
            "back beside it, or move the log away"
        )
    unfinished = path.with_name(path.name + ".new")
    try:
        for suffix in ("", "-journal"):
            unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE))
        with contextlib.closing(connect_writer(unfinished)) as connection:
            mark(connection)
            migrate(connection, unfinished, scripts, fill)
        unfinished.replace(path)
        sync_path(path.absolute().parent)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path}: can't be made: {reason(error)}") from error


def mark(connection: sqlite3.Connection) -> None:
    """Mark a new database as ours."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    scripts: list[tuple[int, str]],
    fill: Callable[[sqlite3.Connection], None],
) -> None:
    """Run the scripts that the database hasn't seen, each in a transaction of its own.

    A database that holds something is copied to `<name>.before-v<N>` first. `fill` puts the
    first row into a new database, with the first script. Raises StorageError; then the database
    is as it was, or at one of the versions between.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    newest = scripts[-1][0]
    refuse_newer(path, version, newest)
    if 0 < version < newest:
        keep = path.with_name(f"{path.name}.before-v{newest}")
        try:
            copy_database(connection, keep, replace=True)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{keep}: the copy before the upgrade can't be written: {reason(error)}; "
                "the database is unchanged"
            ) from error
    for number, script in scripts[version:]:
        try:
            _run(connection, number, script, fill if number == 1 else None)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"{path}: the upgrade to version {number} failed: {reason(error)}; the database "
                f"is still at version {number - 1}"
            ) from error


def _run(
    connection: sqlite3.Connection,
    number: int,
    script: str,
    fill: Callable[[sqlite3.Connection], None] | None,
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in split_statements(script):
            connection.execute(statement)
        if fill is not None:
            fill(connection)
        connection.execute(f"PRAGMA user_version = {number:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def split_statements(script: str) -> list[str]:
    """Cut a script into statements; `executescript` would commit behind our back."""
    statements = []
    start = 0
    for match in re.finditer(";", script):
        candidate = script[start : match.end()]
        if sqlite3.complete_statement(candidate):
            statements.append(candidate)
            start = match.end()
    return statements
