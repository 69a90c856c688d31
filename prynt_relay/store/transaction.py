"""One transaction: a batch of jobs, in order, on the writer's thread."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from prynt_relay.store.append import Appender, AppendJob
from prynt_relay.store.fanout import Fanout
from prynt_relay.store.faults import Fault, fault_of
from prynt_relay.store.settle import SettleJob, Settler


class CallJob:
    """A function that writes, for everything that isn't the hot path.

    It runs inside a savepoint: what it raises is its caller's alone. `alone` gives it a
    transaction of its own (bulk work, so that no ack waits for it); `after_fanouts` makes it wait
    until the deliveries of every event before it are written. One that is `kept` is, as results of
    attempts are, written once the disk takes writes again, and not refused meanwhile.
    """

    __slots__ = (
        "after_fanouts",
        "alone",
        "bytes",
        "error",
        "function",
        "future",
        "kept",
        "result",
        "rows",
    )

    def __init__(
        self,
        function: Callable[[sqlite3.Connection], Any],
        future: asyncio.Future[Any],
        *,
        rows: int = 1,
        alone: bool = False,
        after_fanouts: bool = False,
        kept: bool = False,
    ) -> None:
        self.function = function
        self.future = future
        self.rows = rows
        self.bytes = 0
        self.alone = alone
        self.after_fanouts = after_fanouts
        self.kept = kept
        self.result: Any = None
        self.error: Exception | None = None


Job = AppendJob | SettleJob | CallJob


class Transaction:
    """Runs batches. Its methods are called on the writer's thread only."""

    def __init__(self, appender: Appender, settler: Settler) -> None:
        self._appender = appender
        self._settler = settler
        self._fanouts: deque[int] = deque()
        self._fanout: Fanout | None = None

    def add_fanouts(self, event_rows: Sequence[int]) -> None:
        """These events' deliveries are still to be written."""
        self._fanouts.extend(event_rows)

    def run(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> tuple[int, int | None]:
        """Commit the batch, and a chunk of the oldest large fan-out with it.

        Returns the rows written and the event whose fan-out is complete now, if one is. On any
        exception nothing of the batch is in the database.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._apply(connection, batch)
            fanout_rows, finished = self._write_fanout(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._fanout = None
            if connection.in_transaction:  # some errors have rolled it back already
                connection.execute("ROLLBACK")
            self._appender.names.rolled_back()
            raise
        self._appender.names.committed()
        if finished is not None:
            self._fanouts.popleft()
            self._fanout = None
        elif self._fanout is not None:
            self._fanout.chunk_committed()
        for job in batch:
            if isinstance(job, AppendJob):
                self._fanouts.extend(job.own_fanouts)
        return sum(job.rows for job in batch) + fanout_rows, finished

    def _apply(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> None:
        """Run appends and settlements together, but never past a call that stands between."""
        appends: list[AppendJob] = []
        settles: list[SettleJob] = []
        for job in batch:
            if isinstance(job, AppendJob):
                appends.append(job)
            elif isinstance(job, SettleJob):
                settles.append(job)
            else:
                self._flush(connection, appends, settles)
                appends, settles = [], []
                _call(connection, job)
        self._flush(connection, appends, settles)

    def _flush(
        self,
        connection: sqlite3.Connection,
        appends: list[AppendJob],
        settles: list[SettleJob],
    ) -> None:
        # An attempt is of a delivery that was committed before, so their order doesn't matter.
        if appends:
            self._appender.apply(connection, appends)
        if settles:
            self._settler.apply(connection, settles)

    def _write_fanout(self, connection: sqlite3.Connection) -> tuple[int, int | None]:
        if not self._fanouts:
            return 0, None
        if self._fanout is None:
            self._fanout = Fanout(connection, self._fanouts[0])
        rows, done = self._fanout.write_chunk(connection)
        return rows, self._fanouts[0] if done else None


def _call(connection: sqlite3.Connection, job: CallJob) -> None:
    job.error = None
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.function(connection)
    except Exception as error:
        if fault_of(error) is not Fault.MISTAKE or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO job")
        job.error = error
    connection.execute("RELEASE job")
