"""The one writer: takes what queued up while the last commit ran, commits it, answers.

There is no timer: a lone event is committed at once, and under load the batches grow by
themselves. Futures resolve only after the commit is synced.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import structlog
from msgspec.structs import replace

from prynt_relay.clock import Clock, sleep_unless
from prynt_relay.errors import ShuttingDownError, StorageError, StorageUnavailableError
from prynt_relay.store.append import AppendJob
from prynt_relay.store.batch_bound import BatchBound
from prynt_relay.store.checkpoint import Checkpointer
from prynt_relay.store.connection import Connection
from prynt_relay.store.faults import Fault, fault_of, reason
from prynt_relay.store.settle import SettleJob
from prynt_relay.store.transaction import CallJob, Job, Transaction

_log = structlog.stdlib.get_logger(__name__)

QUEUE_ROWS: Final = 20_000
QUEUE_BYTES: Final = 32 * 1024 * 1024
"""Above this `room()` doesn't return: intake stops reading, the dispatcher stops sending."""

REFUSE_FACTOR: Final = 4
"""Callers that don't wait for room are refused at this many times the bound (appends only;
settlements are bounded by what the dispatcher has in flight)."""

RETRY_S: Final = 0.25
"""How long to wait after a write that failed before the next is tried."""


class Observer(Protocol):
    """Who wants to know what the writer does; called on the event loop, must not block."""

    def committed(self, duration_s: float, rows: int) -> None:
        """Hear that a transaction is on disk."""
        ...

    def availability(self, available: bool) -> None:
        """Hear that writes stopped working, or work again."""
        ...


class Writer:
    """Owns the writing connection and the queue in front of it."""

    def __init__(
        self,
        connection: Connection,
        transaction: Transaction,
        checkpointer: Checkpointer,
        *,
        clock: Clock,
        observer: Observer,
        pending_fanouts: Sequence[int] = (),
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._checkpointer = checkpointer
        self._clock = clock
        self._observer = observer
        self._bound = BatchBound()
        self._queue: deque[Job] = deque()
        self._rows = 0
        self._bytes = 0
        self._work = asyncio.Event()
        self._room: deque[asyncio.Future[None]] = deque()
        # Events whose deliveries aren't all written, each with the jobs that wait for that.
        self._fanouts: dict[int, list[AppendJob]] = {row: [] for row in pending_fanouts}
        self._close_asked = asyncio.Event()
        self._cancelled = False
        # So many jobs go one by one: together they couldn't be written, for one's fault.
        self._singly = 0
        self.available = True
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="store writer")
        self._task.add_done_callback(self._stopped)

    # --- the queue ---

    def enqueue(self, job: Job) -> None:
        """Put a job at the end; its future tells the rest."""
        if self._close_asked.is_set() or self.fatal.done():
            job.future.set_exception(self._refusal())
            return
        if isinstance(job, AppendJob) and (
            self._rows > REFUSE_FACTOR * QUEUE_ROWS or self._bytes > REFUSE_FACTOR * QUEUE_BYTES
        ):
            job.future.set_exception(
                StorageUnavailableError(
                    f"{self._rows} rows wait to be written already; send the event again later"
                )
            )
            return
        self._queue.append(job)
        self._rows += job.rows
        self._bytes += job.bytes
        self._work.set()

    def _refusal(self) -> StorageError | ShuttingDownError:
        if self.fatal.done():
            return StorageUnavailableError("the database failed; the daemon must be restarted")
        return ShuttingDownError("the store is closing; send it again after the restart")

    async def room(self) -> None:
        """Return when the queue is below its bound, or when nothing can be written anyway.

        Then what comes is refused, and who sent it is told, for as long as that lasts.
        """
        while self.available and (self._rows > QUEUE_ROWS or self._bytes > QUEUE_BYTES):
            waiter = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            await waiter

    def _take(self) -> tuple[list[Job], int]:
        """The next batch and its bytes: what may share a transaction, in order, within bounds."""
        batch: list[Job] = []
        rows = size = 0
        large = bool(self._fanouts)
        queue, bound = self._queue, self._bound
        singly = self._singly > 0
        self._singly -= singly
        while queue:
            job = queue[0]
            if batch and (rows + job.rows > bound.rows or size + job.bytes > bound.size):
                break
            if batch and singly:
                break
            if isinstance(job, CallJob):
                if (job.after_fanouts and large) or (job.alone and batch):
                    break
            elif isinstance(job, AppendJob):
                large = large or job.large
            queue.popleft()
            batch.append(job)
            rows += job.rows
            size += job.bytes
            if isinstance(job, CallJob) and job.alone:
                break
        self._rows -= rows
        self._bytes -= size
        return batch, size

    # --- the task ---

    async def _run(self) -> None:
        while True:
            if self._queue or self._fanouts:
                batch, size = self._take()
            elif self._close_asked.is_set():
                return
            elif self.available:
                self._work.clear()
                await self._work.wait()
                continue
            else:
                batch, size = [_probe()], 0
            await self._commit(batch, size)
            self._wake_waiters()
            if self.fatal.done():
                return
            if self.available:
                if self._checkpointer.due(batch):
                    await self._checkpoint()
            elif self._close_asked.is_set():
                return
            else:
                await self._checkpoint()  # an emptied log can be written again on a full disk
                await self._pause()
            if self._cancelled:
                raise asyncio.CancelledError

    async def _pause(self) -> None:
        """Wait before the next try, unless the store is to close."""
        await sleep_unless(self._clock, self._close_asked, RETRY_S)

    async def _commit(self, batch: list[Job], size: int) -> None:
        started = self._clock.monotonic()
        try:
            rows, finished = await self._hop(lambda raw: self._transaction.run(raw, batch))
        except Exception as error:  # noqa: BLE001 - judged, answered and logged below
            self._failed(batch, error)
            return
        lasted_s = self._clock.monotonic() - started
        self._bound.committed(rows, size, lasted_s)
        self._observer.committed(lasted_s, rows)
        self._set_available(True)
        for job in batch:
            self._answer(job)
        if finished is not None:
            for waiting in self._fanouts.pop(finished):
                waiting.fanouts.discard(finished)
                if not waiting.fanouts:
                    late = [replace(each, late=True) for each in waiting.appended]
                    _resolve(waiting.future, late)

    async def _hop(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run on the writer's thread, and wait whatever happens.

        The SQL can't be cancelled, so neither is the wait for it: a cancelled writer would
        otherwise not know whether its last batch is on disk.
        """
        hop = asyncio.ensure_future(self._connection.run(function))
        while not hop.done():
            try:
                await asyncio.shield(hop)
            except asyncio.CancelledError:
                self._cancelled = True  # once the batch is answered
            except Exception:  # noqa: BLE001, S110 - hop.result() raises it
                pass
        return hop.result()

    def _answer(self, job: Job) -> None:
        if isinstance(job, AppendJob):
            for row in job.own_fanouts:
                self._fanouts[row] = []
            job.fanouts &= self._fanouts.keys()
            for row in job.fanouts:
                self._fanouts[row].append(job)
            if not job.fanouts:
                _resolve(job.future, job.appended)
        elif isinstance(job, SettleJob):
            _resolve(job.future, None)
        elif job.error is not None:
            _fail(job.future, job.error)
        else:
            _resolve(job.future, job.result)

    # --- when it fails ---

    def _failed(self, batch: list[Job], error: Exception) -> None:
        fault = fault_of(error)
        if fault is Fault.FATAL:
            self._give_up(batch, error)
        elif fault is Fault.UNAVAILABLE:
            self._put_off(batch, error)
        elif len(batch) > 1:
            # One of them can't be written: find out which, so that the others don't suffer.
            self._put_back(batch)
            self._singly = len(batch)
        elif batch:
            _log.error("a write was refused", action="write_failed", error=reason(error))
            _fail(batch[0].future, error)
        else:
            self._give_up(batch, error)

    def _put_off(self, batch: list[Job], error: Exception) -> None:
        """Tell those who can ask again; keep the attempts, which nobody could repeat.

        From the second failure on also those that still wait: what is kept before them may be more
        than one batch, and what passes at once is over by then.
        """
        if self.available:
            _log.error(
                "the database can't be written", action="storage_unavailable", error=reason(error)
            )
        jobs = list(batch)
        if not self.available:
            jobs += self._queue
            self._queue.clear()
            self._rows = self._bytes = 0
        self._put_back([job for job in jobs if _is_kept(job)])
        for job in jobs:
            if not _is_kept(job):
                _fail(job.future, unavailable(error))
        self._set_available(False)

    def _put_back(self, jobs: Sequence[Job]) -> None:
        """Put jobs in front of the queue, in their order."""
        for job in reversed(jobs):
            self._queue.appendleft(job)
            self._rows += job.rows
            self._bytes += job.bytes

    def _give_up(self, batch: Sequence[Job], error: BaseException) -> None:
        _log.critical("the database failed", action="storage_failed", error=reason(error))
        failure = StorageUnavailableError(f"the database failed: {reason(error)}; restart")
        if not self.fatal.done():
            self.fatal.set_exception(failure)
            self.fatal.exception()  # seen: who doesn't watch it is told by every call
        waiting = [job for jobs in self._fanouts.values() for job in jobs]
        for job in (*batch, *waiting, *self._queue):
            _fail(job.future, failure)
        self._queue.clear()
        self._fanouts.clear()
        self._rows = self._bytes = 0
        self._set_available(False)
        self._wake_waiters()

    async def _checkpoint(self) -> None:
        """Checkpoint; what can't be done now is tried again after a later batch."""
        try:
            await self._hop(self._checkpointer.run)
        except Exception as error:  # noqa: BLE001 - judged and logged here
            self._checkpointer.put_off()
            if fault_of(error) is Fault.FATAL:
                self._give_up((), error)
            elif self.available:
                _log.warning("checkpoint failed", action="checkpoint_failed", error=reason(error))

    def _set_available(self, available: bool) -> None:
        if available != self.available:
            self.available = available
            if available:
                _log.info("the database can be written again", action="storage_available")
            self._observer.availability(available)

    def _wake_waiters(self) -> None:
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        """Never die unnoticed."""
        if task.cancelled():
            if self._close_asked.is_set():
                return  # the process leaves, with what waits unwritten
            self._give_up((), asyncio.CancelledError("the writer was cancelled"))
        elif (error := task.exception()) is not None:
            self._give_up((), error)

    def abandon(self) -> None:
        """Take nothing new, and don't mind being cancelled: the process leaves at once."""
        self._close_asked.set()
        self._work.set()

    async def close(self) -> None:
        """Write what is queued and stop. What can't be written now is failed, not kept."""
        self.abandon()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(self._task)
        for job in (*self._queue, *(job for jobs in self._fanouts.values() for job in jobs)):
            _fail(job.future, self._refusal())
        self._queue.clear()
        self._fanouts.clear()
        self._wake_waiters()


def unavailable(error: BaseException) -> StorageUnavailableError:
    """The error for a caller whose write was rolled back."""
    return StorageUnavailableError(
        f"not stored: {reason(error)}; nothing of it was kept, send it again later"
    )


def _probe() -> CallJob:
    """A write that changes nothing, to see whether one works again."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.exception())
    return CallJob(
        lambda raw: raw.execute("UPDATE meta SET alive_schedule_ms = alive_schedule_ms"), future
    )


def _is_kept(job: Job) -> bool:
    return isinstance(job, SettleJob) or (isinstance(job, CallJob) and job.kept)


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():  # its caller may have been cancelled
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
