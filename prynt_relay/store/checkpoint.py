"""Moving the write-ahead log into the database, between batches and by the writer alone."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from prynt_relay.store.transaction import Job

CHECKPOINT_BYTES: Final = 4 * 1024 * 1024
"""What the log holds when a checkpoint is due."""

RESTART_BYTES: Final = 4 * CHECKPOINT_BYTES
"""A log that grew to this because there was always some reader in it is begun anew as soon as
the readers of the moment are done; new ones don't need it by then."""

READERS_WAIT_MS: Final = 50
"""How long the writer waits for readers then, at most."""

_ROW_BYTES: Final = 200
_COMMIT_PAGES: Final = 5
"""What a batch counts for however small it is: some pages of tables and indexes."""


class Checkpointer:
    """Knows roughly how long the log is. SQLite tells it only after a checkpoint."""

    def __init__(self, page_bytes: int) -> None:
        """Count in pages of so many bytes, the database's."""
        self._page_bytes = page_bytes
        self._bytes = 0.0
        self._growth = 1.5  # bytes of the log for each that a batch counts for
        self._left = 0
        self._due_bytes = float(CHECKPOINT_BYTES)

    def due(self, batch: Sequence[Job]) -> bool:
        """Count what a batch wrote; True when it is time to run."""
        self._bytes += _COMMIT_PAGES * self._page_bytes
        for job in batch:
            self._bytes += job.bytes + _ROW_BYTES * job.rows
        return self._bytes * self._growth >= self._due_bytes

    def put_off(self) -> None:
        """It failed: try again when as much again is written, not after every batch."""
        self._due_bytes = self._bytes * self._growth + CHECKPOINT_BYTES

    def run(self, connection: sqlite3.Connection) -> None:
        """Checkpoint as far as readers allow."""
        _, in_log, done = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        written = in_log - self._left
        if self._bytes > 0 and written > 0:
            estimate = written * self._page_bytes / self._bytes
            self._growth += (estimate - self._growth) / 2
        self._bytes = 0.0
        self._due_bytes = float(CHECKPOINT_BYTES)
        self._left = 0 if in_log == done else in_log
        if in_log * self._page_bytes > RESTART_BYTES:
            self._begin_anew(connection)

    def _begin_anew(self, connection: sqlite3.Connection) -> None:
        (patience_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {READERS_WAIT_MS:d}")
        try:
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms:d}")
        if not busy:
            self._left = 0
