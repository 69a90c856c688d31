"""From a path to a database that is ready for the writer."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from prynt_relay.clock import Clock
from prynt_relay.errors import StorageError
from prynt_relay.store import migrate
from prynt_relay.store.api_requests import reseal_answers
from prynt_relay.store.append import Appender
from prynt_relay.store.checkpoint import Checkpointer
from prynt_relay.store.connection import Connection, Opener, connect_writer, start_wal
from prynt_relay.store.dedup import Dedup
from prynt_relay.store.faults import Fault, fault_of, reason
from prynt_relay.store.numbers import Numbers, first_event
from prynt_relay.store.secret_box import SecretBox
from prynt_relay.store.settle import Settler
from prynt_relay.store.supplied import SuppliedTexts
from prynt_relay.store.transaction import Transaction
from prynt_relay.store.webhooks import WebhookRows


class Opened(msgspec.Struct):
    """A database that is open for writing, with all that lives on the writer's thread."""

    connection: Connection
    transaction: Transaction
    checkpointer: Checkpointer
    numbers: Numbers
    dedup: Dedup
    webhooks: WebhookRows
    pending_fanouts: list[int]
    alive_schedule_ms: int

    async def close(self, *, truncate: bool) -> None:
        """Empty the log, if it may still be touched, and close."""
        if truncate:
            try:
                await self.connection.run(_truncate_log)
            except sqlite3.Error as error:
                # The log is read at the next start instead.
                if fault_of(error) is Fault.MISTAKE:
                    raise
        await self.connection.close()


def _truncate_log(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


async def open_database(
    path: Path,
    opener: Opener,
    *,
    clock: Clock,
    api_version: str,
    event_source: str,
    dedup_window_ms: int,
    box: SecretBox,
    random_bytes: Callable[[int], bytes],
) -> Opened:
    """Check, make or upgrade, and load; raises StorageError and then has changed nothing."""

    def fill(raw: sqlite3.Connection) -> None:
        raw.execute(
            "INSERT INTO meta (id, hash_seed, created_at_ms) VALUES (1, ?, ?)",
            (random_bytes(16), clock.wall_ms()),
        )

    connection: Connection | None = None
    try:
        connection = await opener(lambda: _connect(path, fill))
        raw_connection = connection

        def load(raw: sqlite3.Connection) -> Opened:
            start_wal(raw)
            migrate.migrate(raw, path, migrate.migrations(), fill)
            return _load(
                raw,
                raw_connection,
                Appending(api_version, event_source, dedup_window_ms, clock.wall_ms()),
                box,
                random_bytes,
            )

        return await connection.run(load)
    except BaseException as error:
        if connection is not None:
            await connection.close()
        if isinstance(error, sqlite3.Error):
            raise StorageError(_explain(path, error)) from error
        raise


def _connect(path: Path, fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open the database for writing; makes it if it isn't there."""
    if migrate.check_file(path):
        migrate.make_database(path, migrate.migrations(), fill)
    return connect_writer(path)


def _explain(path: Path, error: sqlite3.Error) -> str:
    if fault_of(error) is Fault.FATAL:
        return f"{path}: the database is damaged: {reason(error)}; restore a backup"
    return f"{path}: can't be opened: {reason(error)}; check the disk's space and the file's owner"


class Appending(msgspec.Struct):
    """What events are stored with."""

    api_version: str
    event_source: str
    dedup_window_ms: int
    now_ms: int


def _load(
    raw: sqlite3.Connection,
    connection: Connection,
    appending: Appending,
    box: SecretBox,
    random_bytes: Callable[[int], bytes],
) -> Opened:
    webhooks = WebhookRows(box, random_bytes)
    webhooks.check_keys(raw)
    _reencrypt(raw, webhooks, box)
    seed, alive_ms = raw.execute("SELECT hash_seed, alive_schedule_ms FROM meta").fetchone()
    numbers = Numbers(raw, appending.now_ms)
    oldest = first_event(raw, appending.now_ms - appending.dedup_window_ms, appending.now_ms)
    keys = SuppliedTexts("supplied_keys", seed)
    ids = SuppliedTexts("supplied_ids", seed)
    keys.load(raw, oldest)
    ids.load(raw, oldest)
    pending = [row for (row,) in raw.execute("SELECT event FROM fanouts ORDER BY event")]
    dedup = Dedup(raw, numbers=numbers, keys=keys, ids=ids, window_ms=appending.dedup_window_ms)
    appender = Appender(
        raw,
        numbers=numbers,
        dedup=dedup,
        api_version=appending.api_version,
        event_source=appending.event_source,
    )
    transaction = Transaction(appender, Settler(numbers))
    transaction.add_fanouts(pending)
    return Opened(
        connection,
        transaction,
        Checkpointer(raw.execute("PRAGMA page_size").fetchone()[0]),
        numbers,
        dedup,
        webhooks,
        pending,
        alive_ms,
    )


def _reencrypt(raw: sqlite3.Connection, webhooks: WebhookRows, box: SecretBox) -> None:
    """Bring all secrets under the key in force, and leave nothing of what they were before."""
    changed = False
    raw.execute("PRAGMA secure_delete = ON")
    while True:
        raw.execute("BEGIN IMMEDIATE")
        try:
            count = webhooks.reencrypt(raw) or reseal_answers(raw, box)
            raw.execute("COMMIT")
        except BaseException:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raise
        if count == 0:
            break
        changed = True
    raw.execute("PRAGMA secure_delete = FAST")
    if changed:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
