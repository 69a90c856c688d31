"""Moving the write-ahead log into the database, between batches and by the writer alone."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from prynt_relay.store.transaction import Job

CHECKPOINT_PAGES: Final = 1000
"""Pages in the log that make a checkpoint due: 4 MiB."""

RESTART_PAGES: Final = 4 * CHECKPOINT_PAGES
"""A log that grew to this because there was always some reader in it is begun anew as soon as
the readers of the moment are done; new ones don't need it by then."""

TRUNCATE_PAGES: Final = 16_384
"""One that a long reader let grow beyond 64 MiB is cut as well."""

READERS_WAIT_MS: Final = 50
"""How long the writer waits for readers then, at most."""

_PAGE: Final = 4096
_ROW_BYTES: Final = 200
_COMMIT_BYTES: Final = 16_384
"""What a batch counts for however small it is: some six pages of tables and indexes."""


class Checkpointer:
    """Knows roughly how long the log is. SQLite tells it only after a checkpoint."""

    def __init__(self) -> None:
        self._bytes = 0.0
        self._pages_per_byte = 1.5 / _PAGE
        self._left = 0

    def due(self, batch: Sequence[Job]) -> bool:
        """Count what a batch wrote; True when it is time to run."""
        self._bytes += _COMMIT_BYTES
        for job in batch:
            self._bytes += job.bytes + _ROW_BYTES * job.rows
        return self._bytes * self._pages_per_byte >= CHECKPOINT_PAGES

    def run(self, connection: sqlite3.Connection) -> None:
        """Checkpoint as far as readers allow."""
        _, in_log, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        written = in_log - self._left
        if self._bytes > 0 and written > 0:
            estimate = written / self._bytes
            self._pages_per_byte += (estimate - self._pages_per_byte) / 2
        self._bytes = 0.0
        self._left = 0 if in_log == done else in_log
        if in_log > RESTART_PAGES:
            self._begin_anew(connection, "TRUNCATE" if in_log > TRUNCATE_PAGES else "RESTART")

    def _begin_anew(self, connection: sqlite3.Connection, mode: str) -> None:
        (patience_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {READERS_WAIT_MS:d}")
        try:
            busy, _, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms:d}")
        if not busy:
            self._left = 0
